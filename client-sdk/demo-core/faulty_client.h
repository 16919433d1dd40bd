// client-sdk/demo-core/faulty_client.h
//
// A client that loses or spoils what goes through it, to prove that who checks the network finds
// out. The core above does not know, and reports what it believes to have sent.
//
//   drop-scp     its own envelopes are swallowed, those of others are relayed
//   drop-tx      its submissions are swallowed
//   corrupt-set  one byte of each transaction set that it offers is another
//   no-vote      nothing here: the core itself is silent (core.h)
//
// Nothing goes wrong before `from_slot`, so that the network is in motion. Threads: those of the
// client below.
#ifndef OVERLAY_CLIENT_SDK_DEMO_CORE_FAULTY_CLIENT_H_
#define OVERLAY_CLIENT_SDK_DEMO_CORE_FAULTY_CLIENT_H_

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "flood/base/ids.h"
#include "overlay/client.h"

namespace overlay::demo {

enum class Sabotage { kNone, kDropScp, kDropTx, kCorruptSet, kNoVote };
// Nullopt: no such kind.
std::optional<Sabotage> SabotageFromName(std::string_view name);

class FaultyClient : public Client {
 public:
  FaultyClient(std::unique_ptr<Client> client, Sabotage sabotage, const NodeKey& self,
               uint64_t from_slot);

  void Start() override { client_->Start(); }
  void Stop() override { client_->Stop(); }
  bool WaitAttached(std::chrono::milliseconds timeout) override {
    return client_->WaitAttached(timeout);
  }
  absl::Status Broadcast(std::string_view envelope, std::optional<uint64_t> id,
                         bool force) override;
  absl::Status RequestState(uint64_t id, uint64_t from_slot, uint32_t max_peers,
                            bool redeliver) override {
    return client_->RequestState(id, from_slot, max_peers, redeliver);
  }
  absl::Status ReplyState(uint64_t id, const std::vector<std::string>& envelopes) override {
    return client_->ReplyState(id, envelopes);
  }
  absl::Status JudgeEnvelope(const Hash& hash, EnvelopeVerdict verdict) override {
    return client_->JudgeEnvelope(hash, verdict);
  }
  absl::StatusOr<uint64_t> Submit(std::string_view transaction, std::optional<TxBid> bid) override;
  absl::Status Judge(const std::vector<TxVerdict>& verdicts) override {
    return client_->Judge(verdicts);
  }
  absl::StatusOr<std::vector<TopTransaction>> TopTransactions(const TopOptions& options) override {
    return client_->TopTransactions(options);
  }
  absl::Status Offer(SetType type, const Hash& hash, std::string bytes,
                     std::optional<uint64_t> slot) override;
  absl::Status Fetch(SetType type, const Hash& hash, const FetchOptions& options) override {
    return client_->Fetch(type, hash, options);
  }
  absl::Status CancelFetch(SetType type, const Hash& hash) override {
    return client_->CancelFetch(type, hash);
  }
  absl::Status LedgerClosed(uint64_t slot, const std::optional<Hash>& hash, bool tracking,
                            const std::vector<uint64_t>& keep_slots) override;
  absl::Status TxSetExternalized(const Hash& set, const std::vector<Hash>& transactions) override {
    return client_->TxSetExternalized(set, transactions);
  }
  absl::StatusOr<std::vector<std::string>> SetPeers(const PeerList& peers) override {
    return client_->SetPeers(peers);
  }

 private:
  bool Breaks(Sabotage kind) const { return sabotage_ == kind && closed_ + 1 >= from_slot_; }

  const std::unique_ptr<Client> client_;
  const Sabotage sabotage_;
  const NodeKey self_;
  const uint64_t from_slot_;
  std::atomic<uint64_t> closed_{0};
};

}  // namespace overlay::demo

#endif  // OVERLAY_CLIENT_SDK_DEMO_CORE_FAULTY_CLIENT_H_
