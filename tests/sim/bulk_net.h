// tests/sim/bulk_net.h
//
// SCP beside sets that keep a link full: real endpoints on virtual links with a rate and a queue. A
// *flow* sends an envelope of 300 bytes each 5 ms from one node to another, beside sets of 10 MB
// the same way: each is asked for when half of the one before has come, so that the link is never
// without; or when all of it has.
//
//   BulkNet net({.megabits_per_second = 200, .round_trip = 10ms});
//   ASSERT_TRUE(net.AddFlow(0, 1));
//   net.Run(5s);  net.Measure();  net.Run(20s);
//   EXPECT_LE(net.WaitP99(), 3ms);
#ifndef OVERLAY_TESTS_SIM_BULK_NET_H_
#define OVERLAY_TESTS_SIM_BULK_NET_H_

#include <cstdint>
#include <map>
#include <queue>
#include <vector>

#include "tests/support/peer_net.h"

namespace overlay::transport {

class BulkNet {
 public:
  struct Link {
    uint64_t megabits_per_second = 200;
    Duration round_trip = std::chrono::milliseconds(10);
    size_t queue_bytes = 1'000'000;
    Duration jitter{};  // each way, order kept
    double loss = 0;
  };
  struct Flow {
    bool one_at_a_time = false;
    Duration idle_between_sets{};  // with one_at_a_time
  };

  // What goes to one node shares one link: its rate and its queue.
  explicit BulkNet(const Link& link);

  // Nodes are made and joined as needed. False: they did not join.
  bool AddFlow(size_t from, size_t to);
  bool AddFlow(size_t from, size_t to, const Flow& flow);
  // Traffic that the bulk window does not rule, as much as the congestion controller lets out.
  bool AddForeign(size_t from, size_t to);

  void Run(Duration time);
  void SetRate(uint64_t megabits_per_second);

  // What is measured counts from here.
  void Measure();
  // Of the envelopes of all flows, above the path's own delay.
  Duration WaitP99() const { return WaitAt(0.99); }
  Duration WaitMax() const { return WaitAt(1.0); }
  size_t envelopes() const;
  // Envelopes sent since the beginning that have not come.
  size_t envelopes_missing() const { return envelopes_sent_ - envelopes_received_; }
  // Bytes of sets, as a part of what the link carries.
  double Use() const;
  double Use(size_t flow) const;
  // 1: all flows got the same; 1 / count: one got all.
  double JainIndex() const;
  // From asked for to complete, of one flow.
  const std::vector<Duration>& set_times(size_t flow) const { return flows_[flow].set_times; }
  // The most that ever waited on the link to that node.
  size_t QueueBytesSeen(size_t to) const { return net_.QueueBytesSeen(to, to); }

 private:
  struct FlowState {
    size_t from;
    size_t to;
    Flow options;
    Time envelope_at;
    std::queue<Time> ask_at;
    std::vector<Duration> waits;
    std::vector<Duration> set_times;
    uint64_t set_bytes = 0;
  };
  struct Foreign {
    size_t from;
    size_t to;
    size_t outstanding = 0;
  };
  struct Request {
    size_t flow;
    Time asked_at;
    uint64_t received = 0;
  };
  struct Asked {
    size_t node;
    SetRequested request;
  };

  bool Join(size_t from, size_t to);
  void SendEnvelope(size_t flow);
  void AskForSet(size_t flow);
  void Answer();
  void Fill(Foreign& foreign);
  bool IsTimeToAct() const;
  void OnEvent(size_t node, const PeerEvent& event);
  void OnEnvelope(const Bytes& envelope);
  void OnSetData(const SetDataReceived& data);
  void OnSetEnded(const RequestEnded& ended);
  Duration WaitAt(double share) const;

  const Link link_;
  PeerNet net_;
  size_t node_count_ = 0;
  Bytes set_;
  SetKey key_;
  std::vector<FlowState> flows_;
  std::vector<Foreign> foreign_;
  std::map<RequestId, Request> requests_;
  std::queue<Asked> asked_;
  std::vector<Time> sent_at_;  // by number of the envelope
  uint64_t next_request_ = 1;
  uint64_t next_foreign_ = uint64_t{1} << 32;
  size_t envelopes_sent_ = 0;
  size_t envelopes_received_ = 0;
  uint64_t rate_megabits_;
  Time measured_from_;
};

}  // namespace overlay::transport

#endif  // OVERLAY_TESTS_SIM_BULK_NET_H_
