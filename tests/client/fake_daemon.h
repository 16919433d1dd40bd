// tests/client/fake_daemon.h
//
// A daemon that a test plays: the core's API on a unix socket, every message from the client
// written down as one line, everything else the test's to say.
//
//   FakeDaemon daemon(path);    // "127.0.0.1:0" instead of a path: over TCP
//   ASSERT_TRUE(daemon.WaitFor("attach"));
//   daemon.Send(down);          // on the Scp stream of the newest session
//   daemon.Restart();           // as another daemon: all calls end, nothing is remembered
//
// Lines, in the order in which the server read them: "attach", "set_peers A,B", "ledger_closed 7
// tracking=0 keep=3", "offer HH 0/300000" (first two hex digits of the hash, offset, total), "fetch
// HH", "cancel HH", "broadcast TEXT" (an envelope without its head), "verdict", "state_request",
// "state_reply N", "submit 3 TEXT", "judge 4".
#ifndef OVERLAY_TESTS_CLIENT_FAKE_DAEMON_H_
#define OVERLAY_TESTS_CLIENT_FAKE_DAEMON_H_

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "overlay/v1/core.grpc.pb.h"

namespace overlay::client {

// Of an envelope, before what a test writes into it: type, node, slot and statement type.
inline constexpr size_t kEnvelopeHeadBytes = 48;

class FakeDaemon {
 public:
  explicit FakeDaemon(std::string socket_path);
  ~FakeDaemon();

  std::string target() const;
  // Ends every call and answers none until Start().
  void Stop();
  void Start();
  void Restart() {
    Stop();
    Start();
  }

  // Ends the session alone, by the status of Attach: the next one is of the same daemon instance.
  void EndSession(const std::string& why = "the session has ended");
  // Said to those that attach from now on, after restarts too.
  void SetLimits(const v1::Limits& limits);

  // The next Attach calls get this status instead.
  void RefuseAttach(const grpc::Status& status);
  // Streams are accepted and not read: what the client queues stays there. False: read on.
  void HoldReading(bool hold);
  // Unary calls write their line and are not answered until their caller gives up.
  void HoldUnary(bool hold);
  // The client's end of the connection on which a method was called last: "ipv4:127.0.0.1:40123".
  std::string CallerOf(const std::string& method);
  // Each submission is answered `added` at once.
  void AnswerSubmissions(bool answer);

  void Send(const v1::AttachEvent& event);
  void Send(const v1::ScpDown& down);
  void Send(const v1::TransactionsDown& down);
  void Send(const v1::TxSetsDown& down);

  // True once a line equals `line` (which is then consumed with all before it); false after 20 s.
  bool WaitFor(const std::string& line);
  // Waits until `count` lines begin so; all lines so far.
  std::vector<std::string> WaitForCount(const std::string& prefix, size_t count);
  std::vector<std::string> Lines();
  void ClearLines();
  size_t attaches();
  v1::AttachRequest last_attach();

 private:
  class Service;

  bool WaitUntil(const std::function<bool()>& done);

  const std::string path_;
  int port_ = 0;
  int starts_ = 0;
  v1::Limits limits_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace overlay::client

#endif  // OVERLAY_TESTS_CLIENT_FAKE_DAEMON_H_
