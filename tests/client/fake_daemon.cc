#include "tests/client/fake_daemon.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <utility>

#include "flood/base/check.h"
#include "flood/base/ids.h"

namespace overlay::client {
namespace {

constexpr std::chrono::seconds kPatience(20);

std::string Short(const std::string& hash) {
  return HexEncode({reinterpret_cast<const uint8_t*>(hash.data()), hash.size()}).substr(0, 2);
}

}  // namespace

using LineList = std::vector<std::string>;

class FakeDaemon::Service : public v1::Core::Service {
 public:
  grpc::Status Attach(grpc::ServerContext* context, const v1::AttachRequest* request,
                      grpc::ServerWriter<v1::AttachEvent>* writer) override {
    uint64_t generation = 0;
    {
      const std::lock_guard lock(mutex_);
      attach_request_ = *request;
      callers_["Attach"] = context->peer();
      ++attaches_;
      changed_.notify_all();
      if (!refusal_.ok()) return refusal_;
      generation = ++session_;
      lines_.push_back("attach");
      attach_ = writer;
      v1::AttachEvent event;
      event.mutable_attached()->set_session(session_);
      event.mutable_attached()->set_node_id(std::string(32, 'n'));
      event.mutable_attached()->set_daemon_instance(instance_);
      *event.mutable_attached()->mutable_limits() = limits_;
      writer->Write(event);
    }
    return Hold(context, &attach_, writer, generation);
  }
  grpc::Status Scp(grpc::ServerContext* context,
                   grpc::ServerReaderWriter<v1::ScpDown, v1::ScpUp>* stream) override {
    Called("Scp", context);
    return Serve<v1::ScpUp>(context, &scp_, stream,
                            [this](const v1::ScpUp& up) { return LineList{Line(up)}; });
  }
  grpc::Status Transactions(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::TransactionsDown, v1::TransactionsUp>* stream) override {
    Called("Transactions", context);
    return Serve<v1::TransactionsUp>(context, &transactions_, stream,
                                     [this](const v1::TransactionsUp& up) { return LinesOf(up); });
  }
  grpc::Status TxSets(grpc::ServerContext* context,
                      grpc::ServerReaderWriter<v1::TxSetsDown, v1::TxSetsUp>* stream) override {
    Called("TxSets", context);
    return Serve<v1::TxSetsUp>(context, &tx_sets_, stream,
                               [this](const v1::TxSetsUp& up) { return LineList{Line(up)}; });
  }
  grpc::Status SetPeers(grpc::ServerContext* context, const v1::SetPeersRequest* request,
                        v1::SetPeersResponse* response) override {
    std::string line = "set_peers ";
    for (const std::string& entry : request->known()) {
      line += entry;
      response->add_known()->set_accepted(true);
    }
    for (const std::string& entry : request->preferred()) {
      line += "+" + entry;
      response->add_preferred()->set_accepted(true);
    }
    if (request->disconnect_removed()) line += " disconnect_removed";
    if (request->has_closed()) line += request->closed() ? " closed" : " open";
    response->set_applied(true);
    Add(line);
    Called("SetPeers", context);
    return grpc::Status::OK;
  }
  grpc::Status LedgerClosed(grpc::ServerContext* context, const v1::LedgerClosedRequest* request,
                            v1::LedgerClosedResponse*) override {
    std::string line =
        fmt::format("ledger_closed {} tracking={}", request->slot(), request->tracking() ? 1 : 0);
    for (const uint64_t slot : request->keep_slots()) line += fmt::format(" keep={}", slot);
    Add(line);
    Called("LedgerClosed", context);
    return grpc::Status::OK;
  }
  grpc::Status TxSetExternalized(grpc::ServerContext* context,
                                 grpc::ServerReader<v1::TxSetExternalizedPart>* reader,
                                 v1::TxSetExternalizedResponse*) override {
    v1::TxSetExternalizedPart part;
    size_t hashes = 0;
    size_t parts = 0;
    while (reader->Read(&part)) {
      hashes += part.tx_hashes().size() / 32;
      ++parts;
    }
    Add(fmt::format("externalized {} in {}", hashes, parts));
    Called("TxSetExternalized", context);
    return grpc::Status::OK;
  }
  grpc::Status TopTransactions(grpc::ServerContext* context,
                               const v1::TopTransactionsRequest* request,
                               grpc::ServerWriter<v1::TopTransactionsPart>* writer) override {
    Add(fmt::format("top after={}", request->after()));
    Called("TopTransactions", context);
    v1::TopTransactionsPart part;
    part.add_transactions()->set_transaction("first");
    writer->Write(part);
    part.mutable_transactions(0)->set_transaction("second");
    writer->Write(part);
    return grpc::Status::OK;
  }

  // Ends the session; what it was told stays known.
  void EndSession(const std::string& why) {
    const std::lock_guard lock(mutex_);
    ++session_;
    why_ended_ = why;
    changed_.notify_all();
  }
  // Ends every call that is held open.
  void End() {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> lines_;
  std::string instance_;
  v1::Limits limits_;
  size_t attaches_ = 0;
  v1::AttachRequest attach_request_;
  grpc::Status refusal_;
  bool hold_reading_ = false;
  bool hold_unary_ = false;
  std::map<std::string, std::string> callers_;
  bool answer_submissions_ = false;
  std::string why_ended_ = "the session has ended";
  grpc::ServerWriter<v1::AttachEvent>* attach_ = nullptr;
  grpc::ServerReaderWriter<v1::ScpDown, v1::ScpUp>* scp_ = nullptr;
  grpc::ServerReaderWriter<v1::TransactionsDown, v1::TransactionsUp>* transactions_ = nullptr;
  grpc::ServerReaderWriter<v1::TxSetsDown, v1::TxSetsUp>* tx_sets_ = nullptr;

 private:
  void Add(std::string line) {
    const std::lock_guard lock(mutex_);
    lines_.push_back(std::move(line));
    changed_.notify_all();
  }
  void Called(const std::string& method, grpc::ServerContext* context) {
    std::unique_lock lock(mutex_);
    callers_[method] = context->peer();
    const bool is_stream = method == "Scp" || method == "Transactions" || method == "TxSets";
    while (!is_stream && hold_unary_ && !ending_ && !context->IsCancelled()) {
      changed_.wait_for(lock, std::chrono::milliseconds(10));
    }
  }
  // A sync handler that waits learns of a cancellation by looking.
  template <class Stream>
  grpc::Status Hold(grpc::ServerContext* context, Stream** slot, Stream* stream,
                    uint64_t generation) {
    std::unique_lock lock(mutex_);
    while (!ending_ && !context->IsCancelled() && session_ == generation) {
      changed_.wait_for(lock, std::chrono::milliseconds(10));
    }
    if (*slot == stream) *slot = nullptr;
    return grpc::Status(grpc::StatusCode::ABORTED, why_ended_);
  }
  template <class Up, class Stream, class MakeLines>
  grpc::Status Serve(grpc::ServerContext* context, Stream** slot, Stream* stream,
                     MakeLines make_lines) {
    stream->SendInitialMetadata();  // before a message could
    {
      const std::lock_guard lock(mutex_);
      *slot = stream;
      changed_.notify_all();
    }
    Up up;
    while (true) {
      {
        std::unique_lock lock(mutex_);
        while (hold_reading_ && !ending_ && !context->IsCancelled()) {
          changed_.wait_for(lock, std::chrono::milliseconds(10));
        }
      }
      if (!stream->Read(&up)) break;
      const std::vector<std::string> lines = make_lines(up);
      const std::lock_guard lock(mutex_);
      lines_.insert(lines_.end(), lines.begin(), lines.end());
      changed_.notify_all();
    }
    const std::lock_guard lock(mutex_);
    if (*slot == stream) *slot = nullptr;
    return grpc::Status(grpc::StatusCode::ABORTED, "the session has ended");
  }
  std::string Line(const v1::ScpUp& up) {
    switch (up.message_case()) {
      case v1::ScpUp::kBroadcast:
        return "broadcast " + up.broadcast().envelope().substr(
                                  std::min(kEnvelopeHeadBytes, up.broadcast().envelope().size()));
      case v1::ScpUp::kStateReply:
        return fmt::format("state_reply {}", up.state_reply().envelopes_size());
      case v1::ScpUp::kVerdict:
        return "verdict";
      default:
        return "state_request";
    }
  }
  // A line for each submission; before several in one message their number.
  LineList LinesOf(const v1::TransactionsUp& up) {
    if (up.has_verdict()) return {fmt::format("judge {}", up.verdict().number())};
    LineList lines;
    const int count = up.submit().submissions_size();
    if (count > 1) lines.push_back(fmt::format("batch of {}", count));
    const std::lock_guard lock(mutex_);
    for (const v1::Submission& submission : up.submit().submissions()) {
      if (answer_submissions_ && transactions_ != nullptr) {
        v1::TransactionsDown down;
        v1::SubmitResult* result = down.mutable_results()->add_results();
        result->set_number(submission.number());
        result->set_outcome(v1::SubmitResult::OUTCOME_ADDED);
        result->set_hash(std::string(32, static_cast<char>(submission.number())));
        transactions_->Write(down);
      }
      lines.push_back(fmt::format("submit {} {}", submission.number(), submission.transaction()));
    }
    return lines;
  }
  std::string Line(const v1::TxSetsUp& up) {
    if (up.has_fetch()) return "fetch " + Short(up.fetch().hash());
    if (up.has_cancel()) return "cancel " + Short(up.cancel().hash());
    return fmt::format("offer {} {}/{}", Short(up.offer().hash()), up.offer().offset(),
                       up.offer().total_bytes());
  }

  uint64_t session_ = 0;
  bool ending_ = false;
};

FakeDaemon::FakeDaemon(std::string socket_path) : path_(std::move(socket_path)) { Start(); }

FakeDaemon::~FakeDaemon() { Stop(); }

void FakeDaemon::Start() {
  service_ = std::make_unique<Service>();
  service_->instance_ = fmt::format("instance {:07}", ++starts_);
  service_->limits_ = limits_;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(target(), grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(service_.get());
  server_ = builder.BuildAndStart();
  OVERLAY_CHECK(server_ != nullptr);
}

std::string FakeDaemon::target() const {
  if (!path_.starts_with("127.0.0.1:")) return "unix:" + path_;
  return fmt::format("127.0.0.1:{}", port_);
}

void FakeDaemon::HoldUnary(bool hold) {
  const std::lock_guard lock(service_->mutex_);
  service_->hold_unary_ = hold;
  service_->changed_.notify_all();
}

std::string FakeDaemon::CallerOf(const std::string& method) {
  std::string caller;
  OVERLAY_CHECK(WaitUntil([&] {
    const auto found = service_->callers_.find(method);
    if (found != service_->callers_.end()) caller = found->second;
    return !caller.empty();
  }));
  return caller;
}

void FakeDaemon::EndSession(const std::string& why) { service_->EndSession(why); }

void FakeDaemon::SetLimits(const v1::Limits& limits) {
  limits_ = limits;
  const std::lock_guard lock(service_->mutex_);
  service_->limits_ = limits;
}

void FakeDaemon::Stop() {
  if (server_ == nullptr) return;
  service_->End();
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_.reset();
}

void FakeDaemon::RefuseAttach(const grpc::Status& status) {
  const std::lock_guard lock(service_->mutex_);
  service_->refusal_ = status;
}

void FakeDaemon::HoldReading(bool hold) {
  const std::lock_guard lock(service_->mutex_);
  service_->hold_reading_ = hold;
  service_->changed_.notify_all();
}

void FakeDaemon::AnswerSubmissions(bool answer) {
  const std::lock_guard lock(service_->mutex_);
  service_->answer_submissions_ = answer;
}

bool FakeDaemon::WaitUntil(const std::function<bool()>& done) {
  std::unique_lock lock(service_->mutex_);
  return service_->changed_.wait_for(lock, kPatience, done);
}

void FakeDaemon::Send(const v1::AttachEvent& event) {
  OVERLAY_CHECK(WaitUntil([this] { return service_->attach_ != nullptr; }));
  const std::lock_guard lock(service_->mutex_);
  service_->attach_->Write(event);
}

void FakeDaemon::Send(const v1::ScpDown& down) {
  OVERLAY_CHECK(WaitUntil([this] { return service_->scp_ != nullptr; }));
  const std::lock_guard lock(service_->mutex_);
  service_->scp_->Write(down);
}

void FakeDaemon::Send(const v1::TransactionsDown& down) {
  OVERLAY_CHECK(WaitUntil([this] { return service_->transactions_ != nullptr; }));
  const std::lock_guard lock(service_->mutex_);
  service_->transactions_->Write(down);
}

void FakeDaemon::Send(const v1::TxSetsDown& down) {
  OVERLAY_CHECK(WaitUntil([this] { return service_->tx_sets_ != nullptr; }));
  const std::lock_guard lock(service_->mutex_);
  service_->tx_sets_->Write(down);
}

bool FakeDaemon::WaitFor(const std::string& line) {
  return WaitUntil([&] {
    std::vector<std::string>& lines = service_->lines_;
    const auto found = std::find(lines.begin(), lines.end(), line);
    if (found == lines.end()) return false;
    lines.erase(lines.begin(), found + 1);
    return true;
  });
}

std::vector<std::string> FakeDaemon::WaitForCount(const std::string& prefix, size_t count) {
  WaitUntil([&] {
    return static_cast<size_t>(std::count_if(
               service_->lines_.begin(), service_->lines_.end(),
               [&](const std::string& line) { return line.starts_with(prefix); })) >= count;
  });
  return Lines();
}

std::vector<std::string> FakeDaemon::Lines() {
  const std::lock_guard lock(service_->mutex_);
  return service_->lines_;
}

void FakeDaemon::ClearLines() {
  const std::lock_guard lock(service_->mutex_);
  service_->lines_.clear();
}

size_t FakeDaemon::attaches() {
  const std::lock_guard lock(service_->mutex_);
  return service_->attaches_;
}

v1::AttachRequest FakeDaemon::last_attach() {
  const std::lock_guard lock(service_->mutex_);
  return service_->attach_request_;
}

}  // namespace overlay::client
