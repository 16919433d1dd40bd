#include "tests/bench/scp_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client-sdk/xdr/scp_message.h"
#include "flood/base/crypto.h"
#include "flood/base/random.h"
#include "overlay/client.h"
#include "tests/bench/cores.h"
#include "tests/bench/daemons.h"

namespace overlay::bench {
namespace {

// A slot of a network of a hundred validators has some hundreds of envelopes.
constexpr size_t kEnvelopesPerSlot = 200;
constexpr uint64_t kFirstSlot = 1'000;
// A copy that is not there so long after the last send is lost.
constexpr Duration kCopyPatience = std::chrono::seconds(3);
// Where an envelope's XDR has its node key, of which the first 8 bytes are the envelope's number.
constexpr size_t kNodeAt = 4;

std::string TxSetOfSlot(uint64_t slot) {
  return fmt::format("the transaction set of slot {}", slot);
}

Hash ToClientHash(absl::Span<const uint8_t> bytes) {
  Hash hash{};
  std::copy(bytes.begin(), bytes.end(), hash.begin());
  return hash;
}

absl::Span<const uint8_t> AsBytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// What is shared by the cores: when each envelope was meant to leave, and how many copies have
// come.
struct Course {
  explicit Course(size_t count) : intended(count) {}

  std::vector<Time> intended;
  std::atomic<uint64_t> copies{0};
  std::atomic<uint64_t> wanted{UINT64_MAX};
  Progress progress;
};

// One core: notes when each envelope arrived. Its vector is of the SCP thread alone until the run
// is over.
class ScpCore : public BenchCore {
 public:
  ScpCore(Course* course, size_t index, size_t count, const ScpHooks& hooks)
      : BenchCore(&course->progress),
        course_(course),
        index_(index),
        hooks_(hooks),
        arrived_(count) {}

  void OnEnvelope(const ReceivedEnvelope& received) override {
    if (hooks_.before_envelope) hooks_.before_envelope(index_);
    const Time now = Now();
    if (received.envelope.size() < kNodeAt + 8) return;
    uint64_t number = 0;
    std::memcpy(&number, received.envelope.data() + kNodeAt, sizeof(number));
    if (number >= arrived_.size() || arrived_[number] != Time{}) return;
    arrived_[number] = now;
    if (course_->copies.fetch_add(1) + 1 == course_->wanted.load()) progress()->Changed();
  }
  void OnOffered(SetType, const Hash& hash) override {
    ++offered_;
    progress()->Changed();
    if (hooks_.on_offered) hooks_.on_offered(index_, hash);
  }
  void OnSet(ReceivedSet set) override {
    if (hooks_.on_set) hooks_.on_set(index_, std::move(set));
  }
  void OnTransactions(const std::vector<ReceivedTransaction>& received) override {
    if (hooks_.on_transactions) hooks_.on_transactions(index_, received);
  }

  uint64_t offered() const { return offered_; }
  const std::vector<Time>& arrived() const { return arrived_; }

 private:
  Course* course_;
  const size_t index_;
  const ScpHooks& hooks_;
  std::vector<Time> arrived_;
  std::atomic<uint64_t> offered_{0};
};

}  // namespace

class ScpRun::Impl {
 public:
  Impl(const ScpOptions& options, std::vector<std::string> apis, std::function<Duration()> cpu,
       ScpHooks hooks)
      : options_(options),
        apis_(std::move(apis)),
        cpu_so_far_(std::move(cpu)),
        hooks_(std::move(hooks)),
        course_(options.count) {
    MakeEnvelopes();
  }
  Client& client(size_t core) { return clients_[core]; }

  absl::Status Connect() {
    std::vector<BenchCore*> cores;
    for (size_t i = 0; i < apis_.size(); ++i) {
      cores_.push_back(std::make_unique<ScpCore>(&course_, i, options_.count, hooks_));
      cores.push_back(cores_.back().get());
    }
    const absl::Status status = clients_.Connect(apis_, options_.client, cores, course_.progress);
    return status.ok() ? OfferFirstSets() : status;
  }

  absl::Status SendPart(size_t begin, size_t end, ScpResult* result) {
    const Duration cpu_before = cpu_so_far_();
    course_.wanted = course_.copies + (end - begin) * (apis_.size() - 1);
    Pace pace(options_.gap);
    for (size_t number = begin; number < end && !Interrupted(); ++number) {
      alarm_.WaitUntil(pace.next());
      course_.intended[number] = pace.Take();
      const absl::Status sent = clients_[SenderOf(number)].Broadcast(envelopes_[number].view());
      if (!sent.ok()) return sent;
      if (number + 1 < options_.count && SlotOf(number + 1) != SlotOf(number)) {
        if (absl::Status status = NextSlot(SlotOf(number + 1)); !status.ok()) return status;
      }
    }
    if (hooks_.after_sends) hooks_.after_sends();
    course_.progress.Wait(kCopyPatience, [this] { return course_.copies >= course_.wanted; });
    result->sends += pace.sends();
    result->late += pace.late();
    cpu_ += cpu_so_far_() - cpu_before;
    return clients_.Failure("");
  }

  void Finish(size_t begin, size_t end, ScpResult* result, std::optional<size_t> untimed) {
    clients_.Stop();
    for (size_t number = begin; number < end; ++number) {
      if (course_.intended[number] == Time{}) continue;  // interrupted before
      for (size_t core = 0; core < cores_.size(); ++core) {
        if (core == SenderOf(number)) continue;
        const Time arrived = cores_[core]->arrived()[number];
        if (arrived == Time{}) {
          ++result->lost;
          continue;
        }
        ++result->copies;
        if (core == untimed) continue;
        result->latency.Add(arrived - course_.intended[number]);
      }
    }
    const auto copies = static_cast<double>(std::max<uint64_t>(result->copies, 1));
    result->cpu_us_per_copy = ToSeconds(cpu_) * 1e6 / copies;
  }

 private:
  size_t SenderOf(size_t number) const {
    return options_.first_core_sends_all ? 0 : number % apis_.size();
  }
  // Signed once: the daemon checks no signature, and signing each would take longer than sending.
  void MakeEnvelopes() {
    Random random(static_cast<uint64_t>(Now().time_since_epoch().count()));
    SecretSeed signer;
    random.Fill(absl::MakeSpan(signer.bytes));
    const NetworkId network = NetworkIdOf(kPassphrase);
    const SetHash quorum_set = HashOf<SetHash>(AsBytes(quorum_set_));
    std::string value;
    for (size_t number = 0; number < options_.count; ++number) {
      const uint64_t slot = SlotOf(number);
      if (number % kEnvelopesPerSlot == 0) {
        value = xdr::SignedValue(HashOf<SetHash>(AsBytes(TxSetOfSlot(slot))), 1'750'000'000 + slot,
                                 signer, network);
      }
      xdr::ScpStatement statement;
      random.Fill(absl::MakeSpan(statement.node.bytes));
      const uint64_t mark = number;
      std::memcpy(statement.node.bytes.data(), &mark, sizeof(mark));
      statement.slot = LedgerSeq{slot};
      xdr::Nominate nominate;
      nominate.quorum_set = quorum_set;
      nominate.votes.push_back(value);
      statement.pledges = std::move(nominate);
      const Bytes signed_part = xdr::EncodeStatement(statement);
      std::string envelope(signed_part.view());
      Signature signature;
      random.Fill(absl::MakeSpan(signature));
      envelope.append({0, 0, 0, static_cast<char>(signature.size())});
      envelope.append(signature.begin(), signature.end());
      envelopes_.push_back(Bytes::Take(std::move(envelope)));
    }
  }

  absl::Status OfferTo(Client& client, SetType type, const std::string& set,
                       std::optional<uint64_t> slot) {
    return client.Offer(type, ToClientHash(Sha256(AsBytes(set))), set, slot);
  }
  absl::Status OfferFirstSets() {
    for (size_t core = 0; core < clients_.size(); ++core) {
      Client* const client = &clients_[core];
      absl::Status status = client->LedgerClosed(kFirstSlot - 1, std::nullopt, /*tracking=*/true);
      if (status.ok()) status = OfferTo(*client, SetType::kQuorumSet, quorum_set_, std::nullopt);
      for (const uint64_t slot : {kFirstSlot, kFirstSlot + 1}) {
        if (status.ok()) status = OfferTo(*client, SetType::kTxSet, TxSetOfSlot(slot), slot);
      }
      if (!status.ok()) return status;
    }
    const bool offered = course_.progress.Wait(kConnectPatience, [this] {
      return std::all_of(cores_.begin(), cores_.end(),
                         [](const auto& core) { return core->offered() >= 3; });
    });
    return clients_.Failure(offered ? "" : "a daemon did not take the sets that envelopes name");
  }
  absl::Status NextSlot(uint64_t slot) {
    for (size_t core = 0; core < clients_.size(); ++core) {
      if (hooks_.is_absent && hooks_.is_absent(core)) continue;
      Client* const client = &clients_[core];
      absl::Status status = client->LedgerClosed(slot - 1, std::nullopt, /*tracking=*/true);
      if (status.ok()) status = OfferTo(*client, SetType::kTxSet, TxSetOfSlot(slot + 1), slot + 1);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  const ScpOptions options_;
  const std::vector<std::string> apis_;
  const std::function<Duration()> cpu_so_far_;
  const ScpHooks hooks_;
  const std::string quorum_set_ = "the quorum set of all";
  Course course_;
  std::vector<Bytes> envelopes_;
  std::vector<std::unique_ptr<ScpCore>> cores_;
  Clients clients_;
  Alarm alarm_;
  Duration cpu_{};
};

uint64_t ScpRun::SlotOf(size_t number) { return kFirstSlot + number / kEnvelopesPerSlot; }

ScpRun::ScpRun(const ScpOptions& options, std::vector<std::string> apis,
               std::function<Duration()> cpu, ScpHooks hooks)
    : impl_(std::make_unique<Impl>(options, std::move(apis), std::move(cpu), std::move(hooks))) {}
ScpRun::~ScpRun() = default;
absl::Status ScpRun::Connect() { return impl_->Connect(); }
absl::Status ScpRun::SendPart(size_t begin, size_t end, ScpResult* result) {
  return impl_->SendPart(begin, end, result);
}
void ScpRun::Finish(size_t begin, size_t end, ScpResult* result, std::optional<size_t> untimed) {
  impl_->Finish(begin, end, result, untimed);
}
Client& ScpRun::client(size_t core) { return impl_->client(core); }

}  // namespace overlay::bench
