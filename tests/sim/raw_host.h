// tests/sim/raw_host.h
//
// A peer without manners among whole nodes: a RawPeer (tests/support/peer_raw.h) at an address of
// the network that is no node's, with the few words that most stories need.
#ifndef OVERLAY_TESTS_SIM_RAW_HOST_H_
#define OVERLAY_TESTS_SIM_RAW_HOST_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/network.h"
#include "tests/support/peer_raw.h"

namespace overlay::sim {

class RawHost final : public transport::DatagramSink {
 public:
  // The network must outlive this, and run no more when this has gone.
  explicit RawHost(Network& net, uint8_t number = 1);

  // Dials, and waits until the node has it as a peer.
  bool Join(size_t node);
  transport::RawPeer& raw() { return *raw_; }
  // Writes what has been queued.
  void Flush();

  // ---- words
  void SendEnvelope(const Bytes& envelope);
  void SendControl(const ControlMessage& message);
  void Announce(const std::vector<InvEntry>& entries);
  void SendFrame(std::string_view frame);  // on the control stream

  // Requests of the node that have come whole and were not taken before, in order.
  struct Demand {
    transport::StreamId stream = -1;
    std::vector<TxHash> hashes;
  };
  struct Fetch {
    transport::StreamId stream = -1;
    SetRequest request;
  };
  std::vector<Demand> TakeDemands();
  std::vector<Fetch> TakeFetches();
  void AnswerBody(transport::StreamId stream, std::string_view body, bool fin = true);
  // Says `header`, then sends `bytes`, whatever that says.
  void AnswerSet(transport::StreamId stream, const SetHeader& header, std::string_view bytes);

  // DatagramSink
  absl::Span<uint8_t> Buffer() override;
  void Commit(const transport::Path& path, size_t bytes, size_t segment_bytes) override;

 private:
  void Tick();
  // Peers' streams that begin with this kind and have ended, and were not taken before.
  std::vector<std::pair<transport::StreamId, std::string>> TakeAsked(StreamKind kind);

  Network& net_;
  const SocketAddress address_;
  std::unique_ptr<transport::RawPeer> raw_;
  std::vector<uint8_t> buffer_;
  size_t used_ = 0;
  transport::StreamId tx_control_ = -1;
  std::set<transport::StreamId> taken_;
};

}  // namespace overlay::sim

#endif  // OVERLAY_TESTS_SIM_RAW_HOST_H_
