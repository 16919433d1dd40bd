// flood/trace.h
//
// What the node knows of one transaction or one set, and what it did to get it: for operators who
// ask where something is. As of one moment; nothing is kept for it beyond what the rules need, so a
// trace ends where the node forgets.
#ifndef OVERLAY_FLOOD_TRACE_H_
#define OVERLAY_FLOOD_TRACE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "flood/base/ids.h"
#include "flood/base/time.h"
#include "flood/core_io.h"
#include "flood/tx_memory.h"

namespace overlay::flood {

// What came of asking one peer.
enum class AskState : uint8_t {
  kNotAsked,
  kAsked,     // now
  kNotFound,  // it says that it has it not
  kSilent,    // not a byte in time
  kBad,       // what it sent is not what was asked for
  kBroken,    // its stream ended too early
};

struct TxTrace {
  enum class Place : uint8_t {
    kUnknown,
    kAnnounced,   // by peers; nobody is asked at the moment
    kAsked,       // of one of them
    kPending,     // here, and waits for the core's verdict
    kPooled,      // valid: announced, served and proposed
    kRemembered,  // gone, and not wanted again for now: `fate`
  };
  Place place = Place::kUnknown;
  std::optional<TxFate> fate;

  struct Announcer {
    NodeKey peer;
    AskState state = AskState::kNotAsked;
    std::optional<Time> asked_at;
  };
  // While it is not here, in the order in which they are asked.
  std::vector<Announcer> announcers;

  // While it is here.
  uint64_t size_bytes = 0;
  Bid bid;
  AccountKey account;
  int64_t sequence = 0;
  std::optional<NodeKey> from;  // none: the core submitted it
  Time arrived{};
  std::optional<Time> pooled_at;
  uint32_t offers = 0;            // times that it was given to the core, in this attachment
  std::vector<NodeKey> known_by;  // connected peers that announced it, sent it or were told of it
};

struct SetTrace {
  enum class Place : uint8_t {
    kUnknown,
    kWanted,   // being fetched
    kCached,   // here, and served
    kOffered,  // the core is handing it over
  };
  Place place = Place::kUnknown;

  // Of one wanted.
  bool wanted_by_core = false;
  bool named_by_peers = false;
  std::optional<LedgerSeq> slot;  // of one cached, too
  uint64_t received_bytes = 0;    // of the source that is farthest
  uint64_t total_bytes = 0;       // as announced; 0: not yet
  struct Source {
    PeerId peer;
    NodeKey key;
    AskState state = AskState::kNotAsked;
    std::optional<Time> asked_at;
  };
  std::vector<Source> sources;  // as they were named: about the order in which they are asked
  uint32_t passes = 0;          // times that all were asked in vain
  std::optional<Time> next_pass;

  // Of one cached.
  uint64_t size_bytes = 0;
  bool guest = false;
  bool externalized = false;
  std::vector<NodeKey> held_by;  // connected peers that said so
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_TRACE_H_
