// flood/scp_order.h
//
// Which of two statements of the same node, slot and phase is newer: SCP's own order, never that of
// arrival.
//
// Rules
//   R1  EXTERNALIZE is newer than CONFIRM, CONFIRM than PREPARE.
//   R2  PREPARE by (ballot, prepared, preparedPrime, nH), a missing ballot first.
//   R3  CONFIRM by (ballot, nPrepared, nH).
//   R4  Ballots by counter, then by value, bytewise.
//   R5  A NOMINATE is newer if its votes and its accepted values are both supersets of the other's
//       and one is strictly larger. Lists that do not strictly ascend are comparable with nothing:
//       SCP refuses them.
//   R6  Nothing else compares: two EXTERNALIZE, equal statements, a nomination and a ballot
//   statement. Why all: this is how the core replaces statements. Any other order (arrival, the
//   counter alone) would hold back a statement that the core still waits for.
//
// The order is strict and partial: Newer(a, b) excludes Newer(b, a), and it is transitive.
// Cost     linear in the statements' sizes. Threads: none, pure.
#ifndef OVERLAY_FLOOD_SCP_ORDER_H_
#define OVERLAY_FLOOD_SCP_ORDER_H_

#include "flood/xdr_skim.h"

namespace overlay::flood {

// True if `a` makes `b` superfluous. The caller compares only statements of one node and slot.
bool Newer(const ScpStatement& a, const ScpStatement& b);

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_SCP_ORDER_H_
