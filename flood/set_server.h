// flood/set_server.h
//
// Answers peers' requests for sets: how many at a time, in which encoding, how long one waits for a
// set that the core has promised.
//
// Rules
//   R1  A peer is served sets_served_per_peer_max sets at once; sets_served_queue_per_peer_max more
//       wait in order; beyond that the answer is not-found.
//       Why: a peer that asks for everything and reads nothing holds its own places, nobody else's.
//   R2  What is cached is answered from the one shared buffer; an offset continues an earlier
//       answer.
//   R3  A set is promised from the first chunk of the core's offer, or from the core's broadcast of
//       an envelope that no peer sent and that names it. Requests for a promised set wait
//       promised_wait, at most promised_waits_per_peer_max of a peer, and take no serving place
//       meanwhile. Why: offer and envelope travel on two channels; a peer that asks at once must
//       not hear not-found.
//   R4  Each request is answered exactly once, or dropped with its peer.
//   R5  A transaction set of set_compress_bytes_min or more is compressed when the first peer asks
//       that takes it so: once, whoever asks meanwhile. Those requests wait for the frame in their
//       serving places, and all later answers share it. Whoever continues at an offset gets plain
//       bytes. Why: most sets are asked for by nobody, or by several at once; a frame has no
//       meaning from its middle on.
//   R6  A frame is sent and kept only if it saves a tenth; where the worker has too much to do
//       (compute.h R2) or fails, the set is sent as it is.
//       Why: inflating costs the asker time too, and compression must never cost an answer.
//
// Bounds   R1, R3; promises: kPromiseCountMax, the oldest goes; sets being compressed:
//     compute_bytes_max together.
// Cost     O(log n) an event. Time: argument only. Threads: none.
#ifndef OVERLAY_FLOOD_SET_SERVER_H_
#define OVERLAY_FLOOD_SET_SERVER_H_

#include <deque>
#include <optional>
#include <vector>

#include "absl/container/btree_map.h"
#include "flood/action.h"
#include "flood/base/limits.h"
#include "flood/compute.h"
#include "flood/node_stats.h"

namespace overlay::flood {

inline constexpr size_t kPromiseCountMax = 256;

// The caches, as the server sees them.
struct ServableSet {
  Bytes bytes;
  Bytes frame;                // of zstd; empty: none
  bool may_compress = false;  // there is no frame, and nobody has tried
};
class SetShelf {
 public:
  virtual ~SetShelf() = default;
  virtual std::optional<ServableSet> Look(const SetKey& key) const = 0;
  // An empty frame: it is not worth it.
  virtual void KeepFrame(const SetKey& key, Bytes frame) = 0;
};

class SetServer {
 public:
  SetServer(const Limits& limits, SetStats& stats, SetShelf& shelf, ComputeQueue& compute)
      : limits_(limits), stats_(stats), shelf_(shelf), compute_(compute) {}

  void OnRequested(Time now, const SetRequested& requested, ActionList& out);
  void OnAnswerDone(Time now, const AnswerDone& done, ActionList& out);
  void OnPeerDisconnected(PeerId peer);

  // A result that the queue has taken. False: not of a compression.
  bool OnComputed(const Computed& computed, ActionList& out);

  void Promise(const SetKey& key);
  // The set is cached now: who waited for it is answered.
  void OnHeld(Time now, const SetKey& key, ActionList& out);
  // The core went, or broke its offer: nothing is promised any more; who waits still waits its
  // time.
  void ForgetPromises() { promises_.clear(); }

  void OnDeadline(Time now, ActionList& out);
  std::optional<Time> NextDeadline() const;
  void CheckInvariants() const;

 private:
  struct Place {
    RequestId request;
    SetRequest set;
  };
  struct Serving {
    RequestId request;
    std::optional<SetKey> awaits;  // the frame of which, in compressing_
  };
  struct Peer {
    std::vector<Serving> serving;  // sets_served_per_peer_max at most
    std::deque<Place> queue;       // sets_served_queue_per_peer_max at most
    size_t waiting = 0;            // for a promise, promised_waits_per_peer_max at most
  };
  struct Waiting {
    PeerId peer;
    Place place;
    Time until;
  };
  struct Compressing {
    uint64_t id = 0;
    Bytes bytes;  // the cache may have lost it when the frame comes
    std::vector<std::pair<PeerId, RequestId>> waiting;
  };

  void Admit(PeerId id, Peer& peer, const Place& place, ActionList& out);
  void Answer(PeerId id, Peer& peer, const Place& place, ActionList& out);
  // Makes the request wait for the set's frame. False: there will be none.
  bool AwaitFrame(PeerId id, const Place& place, const ServableSet& set, ActionList& out);
  void StopAwaiting(PeerId id, const Serving& serving);
  void Send(PeerId id, RequestId request, SetEncoding encoding, uint64_t total, Bytes encoded,
            ActionList& out);
  void AnswerNotFound(PeerId id, const Place& place, ActionList& out);

  const Limits& limits_;
  SetStats& stats_;
  SetShelf& shelf_;
  ComputeQueue& compute_;
  absl::btree_map<PeerId, Peer> peers_;
  std::deque<Waiting> waiting_;  // in order of `until`; its peers' `waiting` sum to its size
  std::deque<SetKey> promises_;  // kPromiseCountMax at most, oldest first
  absl::btree_map<SetKey, Compressing> compressing_;
  absl::btree_map<uint64_t, SetKey> compressing_by_id_;  // the same
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_SET_SERVER_H_
