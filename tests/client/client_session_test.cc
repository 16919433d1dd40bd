// How a session of the C++ client comes to be, whom it gives way to, and how it stops.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <future>
#include <string>

#include "overlay/client.h"
#include "tests/client/client_fixture.h"

namespace overlay::client {
namespace {

using ::testing::IsEmpty;

TEST_F(ClientTest, ARefusalThatWillNotChangeIsFinal) {
  StartDaemon();
  daemon_->RefuseAttach({grpc::StatusCode::FAILED_PRECONDITION, "network_id: another one"});
  MakeClient(Options());
  client_->Start();
  ASSERT_TRUE(core_.WaitFor("detached for good 9"));
  EXPECT_FALSE(client_->WaitAttached(kPatience));
  EXPECT_EQ(daemon_->attaches(), 1u);
}

// Of a core that is back at once the daemon may still hold the session of before.
TEST_F(ClientTest, AnotherCoresPlaceIsWaitedForAndNotForEver) {
  const grpc::Status occupied(grpc::StatusCode::FAILED_PRECONDITION,
                              "takeover: another core is attached");
  StartDaemon();
  daemon_->RefuseAttach(occupied);
  MakeClient(Options());
  client_->Start();
  while (daemon_->attaches() < 3) EXPECT_FALSE(client_->WaitAttached(std::chrono::milliseconds(1)));
  daemon_->RefuseAttach(grpc::Status::OK);
  EXPECT_TRUE(client_->WaitAttached(kPatience));
  client_->Stop();
  EXPECT_THAT(core_.Lines("detached for good"), IsEmpty());

  daemon_->RefuseAttach(occupied);
  ClientOptions options = Options();
  options.occupied_patience = std::chrono::milliseconds(100);
  const size_t before = daemon_->attaches();
  MakeClient(options);
  client_->Start();
  ASSERT_TRUE(core_.WaitFor("detached for good 9"));
  EXPECT_GT(daemon_->attaches(), before + 1);
}

TEST_F(ClientTest, ADaemonThatDrainsIsTriedAgain) {
  StartDaemon();
  daemon_->RefuseAttach({grpc::StatusCode::UNAVAILABLE, "draining"});
  MakeClient(Options());
  client_->Start();
  while (daemon_->attaches() < 3) EXPECT_FALSE(client_->WaitAttached(std::chrono::milliseconds(1)));
  daemon_->RefuseAttach(grpc::Status::OK);
  EXPECT_TRUE(client_->WaitAttached(kPatience));
}

// A daemon that is short of CPU accepts late: no reason to hang up and begin anew.
TEST_F(ClientTest, ADaemonThatIsSlowToAnswerIsWaitedFor) {
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  path().copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(listener, 4), 0);
  MakeClient(Options());
  client_->Start();
  const int connection = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  ASSERT_GE(connection, 0);
  pollfd hung_up{.fd = connection, .events = POLLRDHUP, .revents = 0};
  EXPECT_EQ(poll(&hung_up, 1, 1000), 0);
  EXPECT_THAT(core_.Lines(), IsEmpty());
  // Gone, and another in its place: that is noticed at once.
  close(listener);
  close(connection);
  unlink(path().c_str());
  StartDaemon();
  EXPECT_TRUE(client_->WaitAttached(kPatience));
}

TEST_F(ClientTest, TakenOverByAnotherCoreIsFinal) {
  Attach();
  v1::AttachEvent event;
  event.mutable_detached()->set_reason(v1::Detached::REASON_TAKEN_OVER);
  daemon_->Send(event);
  v1::AttachEvent peer;
  peer.mutable_connected()->set_peers_connected(4);
  daemon_->Send(peer);
  ASSERT_TRUE(core_.WaitFor("peer 4"));  // so the event has been read
  daemon_->Restart();
  ASSERT_TRUE(core_.WaitFor("attached"));
  while (core_.Lines("detached for good").empty()) {
    ASSERT_TRUE(core_.Lines("detached for now").empty());
  }
  EXPECT_FALSE(client_->WaitAttached(kPatience));
}

// `detached` may be lost, but the status of any call says the same.
TEST_F(ClientTest, TakenOverByAnotherCoreIsFinalWithoutTheEvent) {
  ClientOptions options = Options();
  options.takeover = true;  // or it would end the session of its successor
  StartDaemon();
  MakeClient(options);
  client_->Start();
  ASSERT_TRUE(client_->WaitAttached(kPatience));
  daemon_->EndSession("session 1 has ended: another core took over");
  ASSERT_TRUE(core_.WaitFor("detached for good 10"));
  EXPECT_FALSE(client_->WaitAttached(kPatience));
  EXPECT_EQ(daemon_->attaches(), 1u);
}

TEST_F(ClientTest, StopsFromAnyState) {
  MakeClient(Options());
  client_->Stop();  // never started
  client_->Stop();
  client_->Start();  // and never will be
  EXPECT_FALSE(client_->WaitAttached(std::chrono::milliseconds(1)));

  MakeClient(Options());
  client_->Start();  // no daemon: it attaches in vain, or waits
  client_->Stop();

  Attach();
  client_->Stop();
  EXPECT_FALSE(client_->WaitAttached(kPatience));
  EXPECT_EQ(client_->TopTransactions({}).status().code(), absl::StatusCode::kUnavailable);

  MakeClient(Options());
  client_->Start();  // in the middle of attaching
  client_->Stop();

  MakeClient(Options());
  client_->Start();
  ASSERT_TRUE(client_->WaitAttached(kPatience));
  daemon_->Stop();  // in the middle of losing it
  client_->Stop();
}

// Their own deadlines are 5 s and 60 s away.
TEST_F(ClientTest, StopsWhileUnaryCallsAreUnderWay) {
  Attach();
  daemon_->HoldUnary(true);
  ASSERT_TRUE(client_->LedgerClosed(7, std::nullopt, false).ok());
  std::future<absl::Status> top = std::async(std::launch::async, [this] {
    TopOptions options;
    options.timeout = std::chrono::seconds(60);
    return client_->TopTransactions(options).status();
  });
  daemon_->CallerOf("LedgerClosed");
  daemon_->CallerOf("TopTransactions");
  const auto begin = std::chrono::steady_clock::now();
  client_->Stop();
  EXPECT_EQ(top.get().code(), absl::StatusCode::kCancelled);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(3));
}

TEST_F(ClientTest, StopsWhileTheDaemonReadsNothing) {
  StartDaemon();
  daemon_->HoldReading(true);
  MakeClient(Options());
  client_->Start();
  ASSERT_TRUE(client_->WaitAttached(kPatience));
  // More than the connection takes: writes are outstanding.
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(client_->Broadcast(std::string(60'000, 'x')).ok());
    ASSERT_TRUE(client_->Submit(std::string(60'000, 'x')).ok());
  }
  client_->Stop();
  EXPECT_FALSE(client_->WaitAttached(kPatience));
}

}  // namespace
}  // namespace overlay::client
