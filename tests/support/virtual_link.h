// tests/support/virtual_link.h
//
// One direction of a network path in virtual time: delay, jitter, a rate with a drop-tail queue,
// loss, duplication, corruption. The one link model of all tests; who owns it keeps the packets.
//
//   for (Time at : link.Pass(now, payload, random)) Deliver(at, payload);
//
// Draws from `random` in the same order whatever the options, so that one option less does not
// shift the rest.
#ifndef OVERLAY_TESTS_SUPPORT_VIRTUAL_LINK_H_
#define OVERLAY_TESTS_SUPPORT_VIRTUAL_LINK_H_

#include <cstddef>
#include <cstdint>

#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"
#include "flood/base/random.h"
#include "flood/base/time.h"

namespace overlay {

struct LinkOptions {
  Duration delay = std::chrono::milliseconds(10);
  Duration jitter{};               // added evenly from nothing to this; reorders
  bool keeps_order = false;        // a packet that jitter would let overtake arrives with the other
  uint64_t bits_per_second = 0;    // 0: no limit
  size_t queue_bytes = 1'000'000;  // drop-tail, with a rate only
  double loss = 0;
  double duplicate = 0;
  double corrupt = 0;
  size_t mtu = 1'500;  // of UDP payloads; larger ones vanish
};

// A UDP payload takes this much more of the rate: the headers of IPv4 and UDP.
inline constexpr size_t kLinkHeaderBytes = 28;

class VirtualLink {
 public:
  // When it arrives: never (lost), once or twice. May change `payload` (corruption).
  absl::InlinedVector<Time, 2> Pass(const LinkOptions& link, Time now, absl::Span<uint8_t> payload,
                                    Random& random);
  // The most that ever waited in the queue.
  size_t queue_bytes_seen() const { return queue_bytes_seen_; }

 private:
  Time free_at_ = Time::min();  // when the last packet has left, with a rate
  Time last_at_ = Time::min();  // when the last one arrives
  size_t queue_bytes_seen_ = 0;
};

}  // namespace overlay

#endif  // OVERLAY_TESTS_SUPPORT_VIRTUAL_LINK_H_
