// client-sdk/src/submissions.h
//
// The transactions that a core has submitted and no ledger has: what is said again to a daemon that
// has not answered, or that came up without what the one before had taken.
//
// Rules
//   R1  A submission without an answer is said to every daemon, until its answer has come.
//   R2  One that was `added` is kept until consensus has externalized it, 12 ledgers have closed
//       since, or 300 s have gone by: as long as the daemon that took it could hold it. It is said
//       again only to another daemon instance. Why: a mempool is memory; what it had not handed on
//       when its process was killed exists nowhere else.
//   R3  The answer to what was said again is nobody's: each submission is answered once. But if the
//       new daemon did not take it, it is kept no more.
//
// Bounds   kAddedMax submissions and kAddedBytesMax kept by R2, the oldest go; those of R1 are
//          bounded by the queue that they went through and the daemon's unanswered window.
// Time     argument only. Threads: none.
#ifndef OVERLAY_CLIENT_SDK_SRC_SUBMISSIONS_H_
#define OVERLAY_CLIENT_SDK_SRC_SUBMISSIONS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "client-sdk/src/kept_slots.h"
#include "overlay/client.h"
#include "overlay/v1/core.pb.h"

namespace overlay::client {

// Four ledgers of the largest network that docs/performance.md speaks of.
inline constexpr size_t kAddedMax = 20'000;
inline constexpr size_t kAddedBytesMax = 64 << 20;
inline constexpr uint64_t kAddedLedgers = 12;
inline constexpr std::chrono::seconds kAddedFor(300);

class Submissions {
 public:
  void OnSubmitted(const v1::Submission& submission);
  // It was not taken into the queue after all.
  void Forget(uint64_t number) { unanswered_.erase(number); }
  // False: nobody waits for this answer.
  bool OnAnswered(SteadyTime now, uint64_t number, SubmitOutcome outcome, const Hash& hash);
  void OnExternalized(const std::vector<Hash>& transactions);
  // A ledger above all before.
  void OnLedgerClosed(SteadyTime now);
  void OnAttached(SteadyTime now, const std::string& daemon_instance);
  // What this daemon has not been told, or not answered; in the order of the numbers.
  std::vector<v1::Submission> ToSay() const;

  size_t added_count() const { return added_.size(); }

 private:
  struct Added {
    v1::Submission submission;
    Hash hash{};
    SteadyTime at;
    uint64_t ledger = 0;  // the count of those closed before
    bool to_say = false;  // again
  };
  using AddedMap = std::map<uint64_t, Added>;

  void Erase(AddedMap::iterator it);
  void DropOld(SteadyTime now);

  std::map<uint64_t, v1::Submission> unanswered_;
  AddedMap added_;  // by number, which is by age
  std::map<Hash, uint64_t> added_by_hash_;
  size_t added_bytes_ = 0;
  uint64_t ledgers_ = 0;
  std::string daemon_instance_;
};

}  // namespace overlay::client

#endif  // OVERLAY_CLIENT_SDK_SRC_SUBMISSIONS_H_
