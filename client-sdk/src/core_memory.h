// client-sdk/src/core_memory.h
//
// What a core has said and would have to say again to a daemon that has forgotten it, and what it
// has heard and must not hear twice.
//
// Rules
//   R1  Of the slots kept (kept_slots.h): the newest envelope per (node, slot, phase) that was
//       broadcast, the sets offered, and the hashes of envelopes delivered. What has no slot (an
//       offered quorum set, a set offered without) stays until kUnboundSetsMax push it out, oldest
//       first.
//   R2  A submission is remembered as submissions.h says; a fetch until it has ended.
//
// Bounds   kEnvelopesMax, kSetBytesMax, kUnboundSetsMax, kDeliveredMax; over them the lowest slot
//     goes.
// Threads  any; each call takes the one mutex.
#ifndef OVERLAY_CLIENT_SDK_SRC_CORE_MEMORY_H_
#define OVERLAY_CLIENT_SDK_SRC_CORE_MEMORY_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "client-sdk/src/kept_slots.h"
#include "client-sdk/src/submissions.h"
#include "overlay/client.h"
#include "overlay/v1/core.pb.h"

namespace overlay::client {

inline constexpr size_t kEnvelopesMax = 20'000;
inline constexpr size_t kSetBytesMax = 128 << 20;
inline constexpr size_t kUnboundSetsMax = 64;
inline constexpr size_t kDeliveredMax = 200'000;

class CoreMemory {
 public:
  void OnBroadcast(std::string_view envelope);
  // False: delivered before, the core must not have it again.
  bool OnDelivered(uint64_t slot, const Hash& hash);
  // The core judged it so that another copy is to be delivered.
  void OnDiscarded(const Hash& hash);
  // False: it was remembered already.
  bool OnOffered(SetType type, const Hash& hash, std::shared_ptr<const std::string> bytes,
                 std::optional<uint64_t> slot);
  void ForgetOffer(SetType type, const Hash& hash);
  // False: it joins one that is under way.
  bool OnFetch(SetType type, const Hash& hash, const v1::SetFetch& fetch);
  void OnCancel(SetType type, const Hash& hash);
  // False: nobody waits for it (it ended before).
  bool OnFetchEnded(SetType type, const Hash& hash);
  void OnSubmitted(const v1::Submission& submission);
  void ForgetSubmission(uint64_t number);
  // False: nobody waits for this answer.
  bool OnAnswered(SteadyTime now, uint64_t number, SubmitOutcome outcome, const Hash& hash);
  void OnExternalized(const std::vector<Hash>& transactions);
  void OnLedgerClosed(SteadyTime now, const v1::LedgerClosedRequest& closed);
  void OnAttached(SteadyTime now, const v1::Attached& attached);
  void OnSetPeers(const v1::SetPeersRequest& peers);

  struct Offer {
    SetType type;
    Hash hash;
    std::shared_ptr<const std::string> bytes;
    std::optional<uint64_t> slot;
  };
  std::vector<std::string> Envelopes() const;  // lowest slot first
  std::vector<Offer> Offers() const;
  std::vector<v1::SetFetch> Fetches() const;  // those cancelled left out
  // Fetches whose cancellation was not answered before the session ended; they are forgotten.
  std::vector<std::pair<SetType, Hash>> TakeCancelled();
  std::vector<v1::Submission> SubmissionsToSay() const;  // in the order of their numbers
  // The newest close, with all keep_slots.
  std::optional<v1::LedgerClosedRequest> Closed() const;
  // The slot to name in Attach: the lowest closed one that is kept. Why: told of it and then of the
  // newest, a daemon that was restarted has all the slots between them closed in its last minute,
  // and so keeps what it is handed back of them. One that was not restarted moves nothing back.
  std::optional<uint64_t> SlotToAttachWith() const;
  std::optional<v1::SetPeersRequest> Peers() const;

 private:
  using EnvelopeKey = std::tuple<uint64_t, std::string, bool>;  // slot, node, is nomination

  void ShrinkOffers();
  // Erases the slots not kept from a container ordered by them. `slot_of` reads a slot from an
  // iterator, `first_of` makes the lowest key of a slot.
  template <class Container, class SlotOf, class FirstOf>
  void EraseNotKept(Container& container, SlotOf slot_of, FirstOf first_of);

  mutable std::mutex mutex_;
  KeptSlots kept_;
  std::map<EnvelopeKey, std::string> envelopes_;
  std::set<std::pair<uint64_t, Hash>> delivered_;
  std::deque<Offer> offers_;
  size_t offer_bytes_ = 0;
  std::map<std::pair<SetType, Hash>, v1::SetFetch> fetches_;
  std::set<std::pair<SetType, Hash>> cancelled_;  // of fetches_
  Submissions submissions_;
  std::optional<v1::LedgerClosedRequest> closed_;
  std::optional<v1::SetPeersRequest> peers_;
};

}  // namespace overlay::client

#endif  // OVERLAY_CLIENT_SDK_SRC_CORE_MEMORY_H_
