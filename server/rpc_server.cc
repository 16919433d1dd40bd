#include "server/rpc_server.h"

#include <fmt/format.h>
#include <grpc/support/time.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/auth_metadata_processor.h>
#include <grpcpp/security/server_credentials.h>

#include <algorithm>
#include <chrono>

#include "flood/base/check.h"
#include "flood/base/limits.h"
#include "server/library_log.h"

namespace overlay::server {
namespace {

constexpr char kListenerProperty[] = "overlay-listener";
constexpr int kReceiveBytesMax = 1 << 20;  // every legal message fits eight times
// Reflection is a synchronous service: it may have this many threads, and more callers are refused.
constexpr int kSyncThreadCountMax = 4;

// Compares in the same time whatever the first difference.
bool EqualTokens(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned char difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

// Marks each connection with the listener that it came through, and checks the token (R2).
class ListenerProcessor : public grpc::AuthMetadataProcessor {
 public:
  explicit ListenerProcessor(const RpcListener& listener)
      : role_(listener.role == ListenerRole::kCore ? "core" : "operator"),
        expected_(listener.token.empty() ? "" : "Bearer " + listener.token) {}

  bool IsBlocking() const override { return false; }

  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* context,
                       OutputMetadata* /*consumed*/, OutputMetadata* /*response*/) override {
    if (!expected_.empty()) {
      const auto found = metadata.find("authorization");
      if (found == metadata.end()) {
        return {grpc::StatusCode::UNAUTHENTICATED,
                "this listener wants metadata authorization: Bearer TOKEN"};
      }
      if (!EqualTokens({found->second.data(), found->second.size()}, expected_)) {
        return {grpc::StatusCode::UNAUTHENTICATED,
                "the token in authorization is not this listener's"};
      }
    }
    // Of the connection, not of the call: once, or it would grow with each, under the loop's eyes.
    if (context->FindPropertyValues(kListenerProperty).empty()) {
      context->AddProperty(kListenerProperty, role_);
    }
    return grpc::Status::OK;
  }

 private:
  const std::string role_;
  const std::string expected_;
};

std::shared_ptr<grpc::ServerCredentials> CredentialsOf(const RpcListener& listener) {
  if (listener.tls_cert.empty()) {
    return grpc::experimental::LocalServerCredentials(listener.is_unix ? UDS : LOCAL_TCP);
  }
  grpc::SslServerCredentialsOptions options(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = listener.tls_client_ca;
  options.pem_key_cert_pairs.push_back({listener.tls_key, listener.tls_cert});
  return grpc::SslServerCredentials(options);
}

}  // namespace

// One gRPC service, every method of which is read and written raw.
class RpcServer::RawService : public grpc::Service {
 public:
  int Add(const std::string& path) {
    AddMethod(new grpc::internal::RpcServiceMethod(
        path.c_str(), grpc::internal::RpcMethod::BIDI_STREAMING, nullptr));
    MarkMethodRaw(count_);
    return count_++;
  }

  void Request(int index, RpcCall* call, grpc::ServerCompletionQueue* queue) {
    call->request_.outstanding = true;
    RequestAsyncBidiStreaming(index, &call->context_, &call->stream_, queue, queue,
                              AsTag(&call->request_));
  }

 private:
  int count_ = 0;
};

RpcServer::RpcServer(RpcServerOptions options, std::vector<RpcMethod> methods,
                     CompletionMailbox* mailbox)
    : options_(std::move(options)), methods_(std::move(methods)), mailbox_(mailbox) {
  std::vector<std::string> names;
  for (const RpcMethod& method : methods_) {
    const std::string name = method.path.substr(0, method.path.rfind('/'));
    const auto found = std::find(names.begin(), names.end(), name);
    const size_t index = static_cast<size_t>(found - names.begin());
    if (found == names.end()) {
      names.push_back(name);
      services_.push_back(std::make_unique<RawService>());
    }
    RawService* const service = services_[index].get();
    place_.emplace_back(service, service->Add(method.path));
  }
}

RpcServer::~RpcServer() {
  if (server_ == nullptr) return;
  BeginShutdown();
  // Only after a failed start is anything left here. `now` matters to nobody any more.
  while (!is_drained()) {
    mailbox_->Drain(Time{}, SIZE_MAX);
    std::this_thread::yield();
  }
  thread_.reset();
}

absl::Status RpcServer::Start() {
  LibraryLog::Install();
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  const auto millis = [](Duration d) {
    return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(d).count());
  };
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options_.concurrent_streams_max);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, millis(options_.keepalive_time));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, millis(options_.keepalive_timeout));
  // A core always has a call, Attach. A connection without one has nothing to lose, and a client
  // that reads its socket only during its calls (Python's) would be cut off between two of them.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, millis(options_.idle_time));
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 500);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                             millis(options_.handshake_timeout));
  builder.SetMaxReceiveMessageSize(kReceiveBytesMax);
  grpc::ResourceQuota quota("overlayd");
  quota.SetMaxThreads(kSyncThreadCountMax);
  builder.SetResourceQuota(quota);
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 1);

  for (const RpcListener& listener : options_.listeners) {
    const std::shared_ptr<grpc::ServerCredentials> credentials = CredentialsOf(listener);
    credentials->SetAuthMetadataProcessor(std::make_shared<ListenerProcessor>(listener));
    acceptors_.push_back(builder.experimental().AddExternalConnectionAcceptor(
        grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, credentials));
  }
  for (const auto& service : services_) builder.RegisterService(service.get());
  queue_ = builder.AddCompletionQueue();
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) {
    queue_->Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_->Next(&tag, &ok)) {
    }
    return absl::InternalError("the gRPC server does not start");
  }
  thread_ = std::make_unique<CompletionThread>(queue_.get(), mailbox_);
  for (size_t method = 0; method < methods_.size(); ++method) Request(method);
  return absl::OkStatus();
}

void RpcServer::Adopt(size_t listener, int fd) {
  grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
  connection.fd = fd;
  acceptors_[listener]->HandleNewConnection(&connection);
}

void RpcServer::Request(size_t method) {
  auto call = std::make_unique<RpcCall>(this, methods_[method].lane);
  call->method_ = method;
  call->done_.outstanding = true;
  call->context_.AsyncNotifyWhenDone(AsTag(&call->done_));
  RpcCall* const raw = call.get();
  calls_.emplace(raw, std::move(call));
  place_[method].first->Request(place_[method].second, raw, queue_.get());
}

std::unique_ptr<RpcHandler> RpcServer::Accept(RpcCall* call) {
  const RpcMethod& method = methods_[call->method_];
  if (!shutting_down_) Request(call->method_);
  ++live_count_;
  if (shutting_down_) {
    // The queue is shut: no operation may begin on it any more.
    call->Abort({grpc::StatusCode::UNAVAILABLE, "the daemon is shutting down"});
    return nullptr;
  }
  if (live_count_ > options_.call_count_max) {
    call->Finish(
        {grpc::StatusCode::RESOURCE_EXHAUSTED,
         fmt::format("calls: {} are open, at most {}", live_count_, options_.call_count_max)});
    return nullptr;
  }
  const auto properties = call->context_.auth_context()->FindPropertyValues(kListenerProperty);
  const std::string role =
      properties.empty() ? "" : std::string(properties[0].data(), properties[0].size());
  const bool allowed =
      (role == "core" && method.on_core) || (role == "operator" && method.on_operator);
  if (!allowed) {
    call->Finish({grpc::StatusCode::PERMISSION_DENIED,
                  fmt::format("{} is not served on the {} listener", method.path, role)});
    return nullptr;
  }
  if (options_.on_call) options_.on_call(call->context_.peer());
  return method.make(call);
}

void RpcServer::Remove(RpcCall* call) {
  if (call->matched_) --live_count_;
  calls_.erase(call);
}

void RpcServer::BeginShutdown() {
  if (shutting_down_ || server_ == nullptr) return;
  shutting_down_ = true;
  for (auto& [call, owned] : calls_) {
    if (call->matched_) call->Abort({grpc::StatusCode::UNAVAILABLE, "the daemon is shutting down"});
  }
  // A deadline that has passed: waits for nothing, and cancels what is left.
  server_->Shutdown(gpr_inf_past(GPR_CLOCK_REALTIME));
  queue_->Shutdown();
}

bool RpcServer::is_drained() const {
  return server_ == nullptr || (shutting_down_ && calls_.empty() && thread_->finished());
}

}  // namespace overlay::server
