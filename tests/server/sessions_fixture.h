// tests/server/sessions_fixture.h
//
// The core's API served by a real server in this process, over a unix socket, with the node
// replaced by a fake and the loop by a thread that a test can ask to do something. Time is virtual.
#ifndef OVERLAY_TESTS_SERVER_SESSIONS_FIXTURE_H_
#define OVERLAY_TESTS_SERVER_SESSIONS_FIXTURE_H_

#include <grpcpp/create_channel.h>
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "flood/base/crypto.h"
#include "gtest/gtest.h"
#include "overlay/v1/core.grpc.pb.h"
#include "server/api_gate.h"
#include "server/core_sessions.h"
#include "server/drain.h"
#include "server/health_service.h"
#include "server/operator_service.h"
#include "tests/support/temp_folder.h"
#include "transport/event_loop.h"

namespace overlay::server {

// Remembers what it was told, and answers as a test wants.
class FakeNode : public CoreInputSink {
 public:
  void OnCoreInput(Time now, flood::CoreInput input) override {
    if (std::holds_alternative<flood::CoreRoom>(input)) {
      room += std::get<flood::CoreRoom>(input).messages;
      return;
    }
    if (std::holds_alternative<flood::CoreQueues>(input)) {
      queues = std::get<flood::CoreQueues>(input).bytes;
      queues_max = std::max(queues_max, queues);
      return;
    }
    inputs.push_back(input);
    if (answer) answer(now, inputs.back());
  }
  const flood::NodeStats& node_stats() const override { return stats; }

  std::function<void(Time, const flood::CoreInput&)> answer;
  std::vector<flood::CoreInput> inputs;
  uint64_t room = 0;
  uint64_t queues = 0;
  uint64_t queues_max = 0;
  flood::NodeStats stats;
};

class NoOperator : public OperatorSource {
 public:
  v1::StatusResponse Status(Time) override { return {}; }
  v1::MetricsResponse Metrics(Time) override { return {}; }
  std::vector<v1::PeerDetail> ListPeers(Time) override { return {}; }
  std::vector<v1::NameDetail> ListNames(Time) override { return {}; }
  v1::TransactionTrace TraceTransaction(Time, const TxHash&) override { return {}; }
  v1::SetTrace TraceSet(Time, const SetKey&) override { return {}; }
  grpc::Status Connect(Time, flood::PeerEntry) override { return grpc::Status::OK; }
  grpc::Status Disconnect(Time, flood::OperatorDisconnect) override { return grpc::Status::OK; }
  std::vector<v1::BanDetail> ListBans(Time) override {
    v1::BanDetail detail;
    detail.set_reason("listed");
    return {detail};
  }
  grpc::Status Ban(Time, flood::OperatorBan ban) override {
    bans.push_back(std::move(ban));
    return grpc::Status::OK;
  }
  grpc::Status Unban(Time, const NodeKey&) override {
    return {grpc::StatusCode::NOT_FOUND, "peer: not banned"};
  }
  Duration DrainNow(Time) override { return kDrainMax; }
  LogLevel SetLogLevel(std::optional<LogLevel> level) override {
    log_level = level.value_or(log_level);
    return log_level;
  }

  LogLevel log_level = LogLevel::kWarning;
  std::vector<flood::OperatorBan> bans;
};

class Sessions : public testing::Test {
 protected:
  void SetUp() override {
    CoreSessionsOptions options;
    options.network = NetworkIdOf("test");
    options.daemon_instance = std::string(16, 'd');
    options.daemon_version = "overlayd test";
    sessions_ = std::make_unique<CoreSessions>(options, &node_, Random(1));
    std::vector<RpcMethod> methods = sessions_->Methods();
    for (RpcMethod& method : OperatorMethods(&operator_)) methods.push_back(std::move(method));
    for (RpcMethod& method : health_.Methods()) methods.push_back(std::move(method));
    RpcServerOptions server = server_options_;
    server.listeners = {
        {ListenerRole::kCore, "unix:" + folder_.Path("core"), true, ""},
        {ListenerRole::kOperator, "127.0.0.1:0", false, "a-token-of-the-operators"}};
    server_ = std::make_unique<RpcServer>(server, std::move(methods), &mailbox_);
    const absl::Status started = server_->Start();
    ASSERT_TRUE(started.ok()) << started.ToString();
    auto accepting = transport::EventLoop::Create();
    ASSERT_TRUE(accepting.ok()) << accepting.status().ToString();
    accepting_ = *std::move(accepting);
    gate_ = std::make_unique<ApiGate>(accepting_.get(), nullptr);
    for (const RpcListener& listener : server.listeners) {
      const absl::StatusOr<int> port = gate_->Open("", listener.address);
      ASSERT_TRUE(port.ok()) << port.status().ToString();
      ports_.push_back(*port);
    }
    const absl::Status opened =
        gate_->Start(100, [this](size_t at, int fd) { server_->Adopt(at, fd); });
    ASSERT_TRUE(opened.ok()) << opened.ToString();
    acceptor_ = std::thread([this] { accepting_->Run(); });
    loop_ = std::thread([this] { Loop(); });
    grpc::ChannelArguments args;
    args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    args.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    channel_ = grpc::CreateCustomChannel("unix:" + folder_.Path("core"),
                                         grpc::InsecureChannelCredentials(), args);
    stub_ = v1::Core::NewStub(channel_);
  }

  void TearDown() override {
    accepting_->Stop();
    acceptor_.join();
    gate_->Stop();
    OnLoop([this](Time) { server_->BeginShutdown(); });
    for (bool drained = false; !drained;) {
      OnLoop([&](Time) { drained = server_->is_drained(); });
    }
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopped_ = true;
    }
    woken_.notify_all();
    loop_.join();
    server_.reset();
    gate_.reset();
  }

  void Loop() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!stopped_) {
      woken_.wait(lock, [this] { return wake_ || stopped_ || !tasks_.empty(); });
      wake_ = false;
      std::deque<std::function<void(Time)>> tasks = std::exchange(tasks_, {});
      lock.unlock();
      const Time now = Now();
      mailbox_.Drain(now, SIZE_MAX);
      for (auto& task : tasks) task(now);
      sessions_->OnTurn(now);
      lock.lock();
    }
  }
  // Virtual, so that a test can let 15 s pass.
  Time Now() { return Time(std::chrono::seconds(1000)) + skew_; }

  void OnLoop(std::function<void(Time)> task) {
    std::promise<void> done;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      tasks_.push_back([&](Time now) {
        task(now);
        done.set_value();
      });
    }
    woken_.notify_all();
    done.get_future().wait();
  }
  // What the node does with each input from now on. (The loop's thread reads it.)
  void AnswerWith(std::function<void(Time, const flood::CoreInput&)> answer) {
    OnLoop([&](Time) { node_.answer = std::move(answer); });
  }
  // Until a stream of the core's is the session's: it gives the node room.
  void WaitForRoom() {
    for (bool open = false; !open;) {
      OnLoop([&](Time) { open = node_.room > 0; });
    }
  }
  void Tell(flood::CoreOutput output) {
    OnLoop([&](Time now) { sessions_->OnCoreOutput(now, output); });
  }
  template <class Input>
  std::vector<Input> Told() {
    std::vector<Input> found;
    OnLoop([&](Time) {
      for (const flood::CoreInput& input : node_.inputs) {
        if (const auto* match = std::get_if<Input>(&input)) found.push_back(*match);
      }
    });
    return found;
  }

  static v1::AttachRequest Request(const std::string& instance = "instance-1") {
    v1::AttachRequest request;
    request.set_core_instance(instance);
    request.set_network_id(std::string(NetworkIdOf("test").view()));
    request.set_agent("test core");
    return request;
  }

  struct Attachment {
    std::unique_ptr<grpc::ClientContext> context = std::make_unique<grpc::ClientContext>();
    std::unique_ptr<grpc::ClientReader<v1::AttachEvent>> reader;
    uint64_t session = 0;
    v1::Attached attached;
  };
  Attachment Attach(const v1::AttachRequest& request = Request()) {
    Attachment a;
    a.reader = stub_->Attach(a.context.get(), request);
    v1::AttachEvent event;
    if (a.reader->Read(&event) && event.has_attached()) {
      a.attached = event.attached();
      a.session = event.attached().session();
    }
    return a;
  }
  grpc::Status AttachFails(const v1::AttachRequest& request) {
    grpc::ClientContext context;
    auto reader = stub_->Attach(&context, request);
    v1::AttachEvent event;
    EXPECT_FALSE(reader->Read(&event)) << event.ShortDebugString();
    return reader->Finish();
  }
  static std::unique_ptr<grpc::ClientContext> With(uint64_t session) {
    auto context = std::make_unique<grpc::ClientContext>();
    context->AddMetadata("overlay-session", std::to_string(session));
    return context;
  }

  RpcServerOptions server_options_;  // before SetUp; the listeners are the fixture's
  FakeNode node_;
  NoOperator operator_;
  HealthService health_;
  TempFolder folder_;
  std::mutex mutex_;
  std::condition_variable woken_;
  bool wake_ = false;
  bool stopped_ = false;
  std::deque<std::function<void(Time)>> tasks_;
  Duration skew_{};
  CompletionMailbox mailbox_{[this] {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      wake_ = true;
    }
    woken_.notify_all();
  }};
  std::unique_ptr<CoreSessions> sessions_;
  std::unique_ptr<RpcServer> server_;
  std::unique_ptr<transport::EventLoop>
      accepting_;  // with a thread of its own, because `loop_` has no epoll
  std::unique_ptr<ApiGate> gate_;
  std::vector<int> ports_;
  std::thread acceptor_;
  std::thread loop_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Core::Stub> stub_;
};

}  // namespace overlay::server

#endif  // OVERLAY_TESTS_SERVER_SESSIONS_FIXTURE_H_
