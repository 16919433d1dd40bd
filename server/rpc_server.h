// server/rpc_server.h
//
// The gRPC server as an object of the loop: the methods that it answers, the calls that live. Its
// connections are accepted elsewhere (api_gate.h) and adopted.
//
// Rules
//   R1  A method answers only on the listeners named for it; elsewhere PERMISSION_DENIED.
//       Why: who may attach as a core need not be allowed to disconnect peers, and the other way
//       round.
//   R2  A listener with a token answers only calls that carry it ("authorization: Bearer TOKEN"):
//       UNAUTHENTICATED. One with TLS takes only connections that show a certificate of its
//       authorities.
//   R3  At most `call_count_max` calls live at once; one more gets RESOURCE_EXHAUSTED.
//   R4  One completion queue with one thread, no callback API: half the latency of any other
//       arrangement.
//   R5  What gRPC and protobuf have to say about what is sent is kept for the log
//       (library_log.h).
//   R6  A connection that has not said what it must within handshake_timeout is closed. Why: it has
//       a place (api_gate.h) that somebody else may want.
//
// Shutdown in three steps, so that the loop never blocks: the owner ends the calls that it knows,
// then BeginShutdown() cancels the rest, then is_drained() turns true while the loop still drains
// the mailbox.
//
// Threads  the loop's, with the completion thread behind the mailbox; gRPC calls the token check on
// its own. Not here what the methods mean; sessions.
#ifndef OVERLAY_SERVER_RPC_SERVER_H_
#define OVERLAY_SERVER_RPC_SERVER_H_

#include <grpcpp/impl/service_type.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "server/completion_thread.h"
#include "server/rpc_call.h"

namespace overlay::server {

enum class ListenerRole : uint8_t { kCore = 1, kOperator = 2 };

struct RpcListener {
  ListenerRole role = ListenerRole::kCore;
  std::string address;  // "unix:/path" or "127.0.0.1:0"
  bool is_unix = false;
  std::string token;  // empty: none wanted
  // PEM. Empty: no TLS. Else whoever connects must show a certificate of these authorities.
  std::string tls_cert = {};
  std::string tls_key = {};
  std::string tls_client_ca = {};
};

// One method: all kinds are read and written as streams of raw messages, which is the same on the
// wire.
struct RpcMethod {
  std::string path;  // "/overlay.v1.Core/Attach"
  Completion::Lane lane = Completion::Lane::kOther;
  bool on_core = true;  // answers on the core's listener
  bool on_operator = true;
  std::function<std::unique_ptr<RpcHandler>(RpcCall*)> make;
};

struct RpcServerOptions {
  std::vector<RpcListener> listeners;
  size_t call_count_max = 1024;
  int concurrent_streams_max = 128;  // per connection
  Duration keepalive_time = std::chrono::seconds(10);
  Duration keepalive_timeout = std::chrono::seconds(5);
  // A connection that had no call for so long is told to go; a client comes back by itself.
  Duration idle_time = std::chrono::minutes(5);
  Duration handshake_timeout = std::chrono::seconds(10);
  // A call that may be made on its listener came from this end, as gRPC names it.
  std::function<void(const std::string& peer)> on_call = {};
};

class RpcServer {
 public:
  RpcServer(RpcServerOptions options, std::vector<RpcMethod> methods, CompletionMailbox* mailbox);
  // Shuts down if that was not done, and waits for every tag.
  ~RpcServer();

  // INTERNAL. Once.
  absl::Status Start();
  // A connection of a listener, accepted; the descriptor is the server's from here. Between Start()
  // and BeginShutdown(), on any one thread.
  void Adopt(size_t listener, int fd);

  // No new calls; those that live are cancelled.
  void BeginShutdown();
  bool is_drained() const;
  size_t call_count() const { return calls_.size(); }

 private:
  friend class RpcCall;
  class RawService;

  void Request(size_t method);
  // Nullptr: refused, and finished already.
  std::unique_ptr<RpcHandler> Accept(RpcCall* call);
  void Remove(RpcCall* call);

  const RpcServerOptions options_;
  const std::vector<RpcMethod> methods_;
  CompletionMailbox* const mailbox_;
  std::vector<std::unique_ptr<RawService>> services_;
  std::vector<std::pair<RawService*, int>> place_;  // by method: service and index in it
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<CompletionThread> thread_;
  std::vector<std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor>> acceptors_;
  absl::flat_hash_map<RpcCall*, std::unique_ptr<RpcCall>> calls_;
  size_t live_count_ = 0;  // of calls_, those that a client has made
  bool shutting_down_ = false;
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_RPC_SERVER_H_
