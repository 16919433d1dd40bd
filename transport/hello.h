// transport/hello.h
//
// Whether an end that has shown its key, its transport parameters and its Hello may be a peer.
//
// Rules
//   R1  A peer's windows must take any envelope whole: a stream window of the envelope limit + 16
//       bytes, a connection window of 1 MiB, and streams for control, tx control and one envelope.
//       Why: an envelope is opened only when credit covers all of it, so with less it never goes.
//   R2  The same network, and a protocol version that both speak.
//   R3  Our own key: with our nonce we have dialled ourselves; with another nonce it is a second
//       daemon with our key. Why: the one is a detour of DNS, the other an operator's mistake.
//   R4  The first breach in the order key, network, version names the reason. Why: an operator who
//       mends them one by one should see the most basic first.
//
// Pure functions.
#ifndef OVERLAY_TRANSPORT_HELLO_H_
#define OVERLAY_TRANSPORT_HELLO_H_

#include <optional>

#include "flood/base/ids.h"
#include "flood/base/limits.h"
#include "flood/base/message.h"
#include "flood/base/peer_io.h"
#include "transport/quic_types.h"

namespace overlay::transport {

inline constexpr uint64_t kPeerStreamWindowExtraBytes = 16;
inline constexpr uint64_t kPeerConnectionWindowBytesMin = 1 * kMiB;
inline constexpr uint64_t kPeerUniStreamsMin = 3;

// nullopt: welcome. Else why not.
inline std::optional<CloseReason> CheckWindows(const RemoteLimits& theirs, const Limits& limits) {
  const bool enough =
      theirs.uni_stream_window_bytes >= limits.envelope_bytes_max + kPeerStreamWindowExtraBytes &&
      theirs.connection_window_bytes >= kPeerConnectionWindowBytesMin &&
      theirs.uni_streams >= kPeerUniStreamsMin;
  return enough ? std::nullopt : std::optional(CloseReason::kSmallWindows);
}

inline std::optional<CloseReason> CheckHello(const Hello& ours, const NodeKey& our_key,
                                             const Hello& theirs, const NodeKey& their_key) {
  if (their_key == our_key) {
    return theirs.instance_nonce == ours.instance_nonce ? CloseReason::kSelf
                                                        : CloseReason::kKeyShared;
  }
  if (theirs.network != ours.network) return CloseReason::kWrongNetwork;
  if (theirs.version_max < ours.version_min || theirs.version_min > ours.version_max) {
    return CloseReason::kWrongVersion;
  }
  return std::nullopt;
}

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_HELLO_H_
