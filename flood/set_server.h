// flood/set_server.h
//
// Answers peers' requests for sets: how many at a time, how long one waits for a set that the core
// has promised.
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
//
// Bounds   R1, R3; promises: kPromiseCountMax, the oldest goes.
// Cost     O(log n) an event. Time: argument only. Threads: none.
#ifndef OVERLAY_FLOOD_SET_SERVER_H_
#define OVERLAY_FLOOD_SET_SERVER_H_

#include <deque>
#include <functional>
#include <optional>
#include <vector>

#include "absl/container/btree_map.h"
#include "flood/action.h"
#include "flood/base/limits.h"
#include "flood/node_stats.h"

namespace overlay::flood {

inline constexpr size_t kPromiseCountMax = 256;

class SetServer {
 public:
  // `find` gives the cached bytes of a set, or nullptr.
  SetServer(const Limits& limits, SetStats& stats, std::function<const Bytes*(const SetKey&)> find)
      : limits_(limits), stats_(stats), find_(std::move(find)) {}

  void OnRequested(Time now, const SetRequested& requested, ActionList& out);
  void OnAnswerDone(Time now, const AnswerDone& done, ActionList& out);
  void OnPeerDisconnected(PeerId peer);

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
  struct Peer {
    std::vector<RequestId> serving;  // sets_served_per_peer_max at most
    std::deque<Place> queue;         // sets_served_queue_per_peer_max at most
    size_t waiting = 0;              // for a promise, promised_waits_per_peer_max at most
  };
  struct Waiting {
    PeerId peer;
    Place place;
    Time until;
  };

  void Admit(PeerId id, Peer& peer, const Place& place, ActionList& out);
  void Answer(PeerId id, Peer& peer, const Place& place, ActionList& out);
  void AnswerNotFound(PeerId id, const Place& place, ActionList& out);

  const Limits& limits_;
  SetStats& stats_;
  std::function<const Bytes*(const SetKey&)> find_;
  absl::btree_map<PeerId, Peer> peers_;
  std::deque<Waiting> waiting_;  // in order of `until`; its peers' `waiting` sum to its size
  std::deque<SetKey> promises_;  // kPromiseCountMax at most, oldest first
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_SET_SERVER_H_
