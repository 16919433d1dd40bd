// flood/scp_state.h
//
// GetScpState in both directions: what we ask of peers on connection and for the core, and how we
// answer.
//
// Rules
//   R1  Once per connection we ask a peer for slot 0: all that it keeps.
//       Why: nothing else is pushed on connection, so this is how a late joiner hears of the slots.
//   R2  One question to a peer is outstanding, 10 in any 61 s; what the core asks for meanwhile
//       waits its turn. Why: the peer allows one and 10 a minute; the second is for clocks.
//   R3  A question that is not answered within 5 s counts as unanswered; one for the core within 5
//       s of its request, however long it waited for its turn.
//   R4  request_state of the core goes to at most max_peers peers: those whose core is present
//       first, then those asked longest ago, then at random. It ends in one StateDone, when each
//       has answered, refused or failed.
//   R5  A peer's question is answered at once with what the core broadcast and is kept, newest slot
//       first. For a slot below the slots kept the core is asked in addition, under
//       StatePolicy::kCore always; its part follows on the same stream if it comes within 2 s.
//   R6  A peer has one question outstanding and 10 a minute; what is over is answered with
//       `refused`, and is an offence.
//   R7  The core's part is at most what is kept of one sender (8,000 envelopes, 4 MiB), and does
//       not repeat the first part.
//   R8  With redeliver, an envelope that the core was given before is delivered again, once per
//       request.
//
// Bounds   4 requests of the core open; above, refused by name.
// Cost     O(peers) for request_state, O(envelopes) for an answer. Threads: none.
#ifndef OVERLAY_FLOOD_SCP_STATE_H_
#define OVERLAY_FLOOD_SCP_STATE_H_

#include <cstdint>
#include <optional>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "flood/action.h"
#include "flood/base/limits.h"
#include "flood/base/random.h"
#include "flood/node_stats.h"
#include "flood/scp_outbox.h"
#include "flood/scp_peers.h"
#include "flood/slot_window.h"

namespace overlay::flood {

class ScpState {
 public:
  ScpState(const Limits& limits, const SlotWindow& window, ScpPeers& peers, const ScpOutbox& outbox,
           Random random, ScpStats& stats)
      : limits_(limits),
        window_(window),
        peers_(peers),
        outbox_(outbox),
        random_(random),
        stats_(stats) {}

  void OnPeerConnected(Time now, ScpPeer& peer, ActionList& out);
  // The peer is still in the table.
  void OnPeerDisconnected(ScpPeer& peer, ActionList& out);

  // False: refused.
  bool OnQuestion(Time now, ScpPeer& peer, const GetScpState& question, ActionList& out);
  // Parts other than envelopes.
  void OnAnswerEnd(Time now, ScpPeer& peer, const StateReceived& part, ActionList& out);
  // An envelope of an answer. True if it is the first of its hash in a request that redelivers;
  // `is_new`: it goes to the core in any case.
  bool IsFirstInRequest(const ScpPeer& peer, uint64_t id, const EnvelopeHash& hash, bool is_new);

  void Attach(StatePolicy policy);
  void Detach(ActionList& out);
  void OnCoreRequest(Time now, const RequestState& request, ActionList& out);
  void OnCoreReply(Time now, const StateReply& reply, ActionList& out);

  void OnDeadline(Time now, ActionList& out);
  std::optional<Time> NextDeadline() const;
  void CheckInvariants() const;

 private:
  enum class Ending : uint8_t { kAnswered, kRefused, kFailed };
  struct Request {
    RequestState wanted;
    uint32_t asked = 0;
    uint32_t answered = 0;
    uint32_t refused = 0;
    uint32_t open = 0;
    uint32_t delivered_count = 0;
    Time deadline;
    absl::btree_set<EnvelopeHash> delivered;
  };

  void Ask(Time now, ScpPeer& peer, std::optional<uint64_t> core_request, ActionList& out);
  void AskNext(Time now, ScpPeer& peer, ActionList& out);
  void EndAsk(ScpPeer& peer, Ending ending, ActionList& out);
  void Resolve(uint64_t core_request, Ending ending, ActionList& out);
  bool MayAsk(Time now, const ScpPeer& peer) const;
  void EndAnswer(ScpPeer& peer, ActionList& out);

  const Limits& limits_;
  const SlotWindow& window_;
  ScpPeers& peers_;
  const ScpOutbox& outbox_;
  Random random_;
  ScpStats& stats_;

  bool attached_ = false;
  StatePolicy policy_ = StatePolicy::kCache;
  uint64_t last_ask_ = 0;
  uint64_t last_wanted_ = 0;
  uint64_t round_ = 0;
  absl::btree_map<uint64_t, Request> requests_;  // of the core, by its id
  absl::btree_map<uint64_t, PeerId> wanted_;     // StateWanted whose reply is outstanding
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_SCP_STATE_H_
