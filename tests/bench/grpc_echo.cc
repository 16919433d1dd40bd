// A bare gRPC echo: one bidirectional stream, completion queues at both ends, one thread on each.
// It takes the messages of the core's API, so that serialising them is part of the floor, and
// nothing of the daemon.
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <utility>

#include "overlay/v1/core.grpc.pb.h"
#include "tests/bench/clock.h"
#include "tests/bench/echo.h"

namespace overlay::bench {
namespace {

constexpr size_t kBulkChunks = kBulkBytes / kBulkChunkBytes;

// Which operation a tag stands for; one of each is under way at most.
enum class Op : intptr_t { kCall = 1, kRead, kWrite };
void* TagOf(Op op) { return reinterpret_cast<void*>(static_cast<intptr_t>(op)); }

class GrpcEcho : public Echo {
 public:
  explicit GrpcEcho(const std::string& address) {
    grpc::ChannelArguments arguments;
    arguments.SetInt("grpc.use_local_subchannel_pool", 1);
    arguments.SetInt("grpc.http2.bdp_probe", 0);
    channel_ = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
    stub_ = v1::Core::NewStub(channel_);
    ping_.mutable_broadcast()->set_envelope(std::string(kEchoBytes, 'e'));
    chunk_.mutable_offer()->set_data(std::string(kBulkChunkBytes, 'b'));
  }
  ~GrpcEcho() override {
    scp_context_.TryCancel();
    sets_context_.TryCancel();
    queue_.Shutdown();
    void* tag;
    bool ok;
    while (queue_.Next(&tag, &ok)) {
    }
  }
  absl::Status Open() {
    if (!channel_->WaitForConnected(std::chrono::system_clock::now() + kEchoPatience)) {
      return absl::UnavailableError("gRPC echo: not connected");
    }
    scp_ = stub_->PrepareAsyncScp(&scp_context_, &queue_);
    scp_->StartCall(TagOf(Op::kCall));
    if (absl::Status status = Await({Op::kCall}); !status.ok()) return status;
    sets_ = stub_->PrepareAsyncTxSets(&sets_context_, &queue_);
    sets_->StartCall(TagOf(Op::kCall));
    return Await({Op::kCall});
  }
  void WaitUntil(Time at) override { alarm_.WaitUntil(at); }
  absl::Status RoundTrip() override {
    scp_->Read(&answer_, TagOf(Op::kRead));
    scp_->Write(ping_, TagOf(Op::kWrite));
    return Await({Op::kRead, Op::kWrite});
  }
  absl::Status Bulk() override {
    for (size_t i = 0; i < kBulkChunks; ++i) {
      sets_->Write(chunk_, TagOf(Op::kWrite));
      if (absl::Status status = Await({Op::kWrite}); !status.ok()) return status;
    }
    sets_->Read(&done_, TagOf(Op::kRead));
    return Await({Op::kRead});
  }

 private:
  absl::Status Await(std::initializer_list<Op> operations) {
    for (size_t left = operations.size(); left > 0; --left) {
      void* tag = nullptr;
      bool ok = false;
      const auto until = std::chrono::system_clock::now() + kEchoPatience;
      if (queue_.AsyncNext(&tag, &ok, until) != grpc::CompletionQueue::GOT_EVENT || !ok) {
        return absl::UnavailableError("gRPC echo: no answer from the other end");
      }
    }
    return absl::OkStatus();
  }

  grpc::CompletionQueue queue_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Core::Stub> stub_;
  grpc::ClientContext scp_context_;
  grpc::ClientContext sets_context_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<v1::ScpUp, v1::ScpDown>> scp_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<v1::TxSetsUp, v1::TxSetsDown>> sets_;
  v1::ScpUp ping_;
  v1::ScpDown answer_;
  v1::TxSetsUp chunk_;
  v1::TxSetsDown done_;
  Alarm alarm_;
};

// One operation of one of the server's two streams.
struct ServerTag {
  bool is_sets;
  Op op;
};

// The other end: answers each envelope with itself, and each kBulkChunks chunks with one word.
class EchoServer {
 public:
  absl::Status Start(const std::string& address) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials());
    builder.AddChannelArgument("grpc.http2.bdp_probe", 0);
    builder.RegisterService(&service_);
    queue_ = builder.AddCompletionQueue();
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) return absl::InternalError("gRPC echo: cannot listen");
    service_.RequestScp(&scp_context_, &scp_, queue_.get(), queue_.get(), &scp_call_);
    service_.RequestTxSets(&sets_context_, &sets_, queue_.get(), queue_.get(), &sets_call_);
    return absl::OkStatus();
  }
  [[noreturn]] void Serve() {
    void* tag = nullptr;
    bool ok = false;
    while (true) {
      queue_->Next(&tag, &ok);
      if (ok) On(*static_cast<const ServerTag*>(tag));
    }
  }

 private:
  void On(const ServerTag& tag) {
    if (tag.op == Op::kWrite) return;
    if (tag.is_sets) {
      if (tag.op == Op::kRead && ++chunks_ % kBulkChunks == 0) {
        sets_.Write(done_, &sets_write_);
      }
      sets_.Read(&chunk_, &sets_read_);
      return;
    }
    if (tag.op == Op::kRead) {
      echo_.mutable_received()->set_envelope(ping_.broadcast().envelope());
      scp_.Write(echo_, &scp_write_);
    }
    scp_.Read(&ping_, &scp_read_);
  }

  ServerTag scp_call_{false, Op::kCall};
  ServerTag scp_read_{false, Op::kRead};
  ServerTag scp_write_{false, Op::kWrite};
  ServerTag sets_call_{true, Op::kCall};
  ServerTag sets_read_{true, Op::kRead};
  ServerTag sets_write_{true, Op::kWrite};
  v1::Core::AsyncService service_;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::unique_ptr<grpc::Server> server_;
  grpc::ServerContext scp_context_;
  grpc::ServerContext sets_context_;
  grpc::ServerAsyncReaderWriter<v1::ScpDown, v1::ScpUp> scp_{&scp_context_};
  grpc::ServerAsyncReaderWriter<v1::TxSetsDown, v1::TxSetsUp> sets_{&sets_context_};
  v1::ScpUp ping_;
  v1::ScpDown echo_;
  v1::TxSetsUp chunk_;
  v1::TxSetsDown done_;
  size_t chunks_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Echo>> ConnectGrpcEcho(const std::string& address) {
  auto echo = std::make_unique<GrpcEcho>(address);
  if (absl::Status status = echo->Open(); !status.ok()) return status;
  return echo;
}

int ServeGrpcEcho(const std::string& folder) {
  const std::string address = "unix:" + folder + "/grpc_echo";
  EchoServer server;
  if (!server.Start(address).ok()) return 1;
  SayReady(address);
  server.Serve();
}

}  // namespace overlay::bench
