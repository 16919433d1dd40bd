#include "flood/base/peer_io.h"

namespace overlay {

std::string_view CloseReasonName(CloseReason reason) {
  switch (reason) {
    case CloseReason::kNone:
      return "none";
    case CloseReason::kGoaway:
      return "goaway";
    case CloseReason::kWrongNetwork:
      return "wrong_network";
    case CloseReason::kWrongVersion:
      return "wrong_version";
    case CloseReason::kWrongKey:
      return "wrong_key";
    case CloseReason::kSmallWindows:
      return "small_windows";
    case CloseReason::kSelf:
      return "self";
    case CloseReason::kDuplicate:
      return "duplicate";
    case CloseReason::kReplaced:
      return "replaced";
    case CloseReason::kKeyShared:
      return "key_shared";
    case CloseReason::kNotAdmitted:
      return "not_admitted";
    case CloseReason::kBanned:
      return "banned";
    case CloseReason::kDisconnectRequested:
      return "disconnect_requested";
    case CloseReason::kHelloTimeout:
      return "hello_timeout";
    case CloseReason::kMalformed:
      return "malformed";
    case CloseReason::kTooLarge:
      return "too_large";
    case CloseReason::kProtocol:
      return "protocol";
    case CloseReason::kFlood:
      return "flood";
    case CloseReason::kBadScore:
      return "bad_score";
    case CloseReason::kStalled:
      return "stalled";
    case CloseReason::kInternal:
      return "internal";
    case CloseReason::kIdleTimeout:
      return "idle_timeout";
    case CloseReason::kHandshakeTimeout:
      return "handshake_timeout";
    case CloseReason::kHandshakeFailed:
      return "handshake_failed";
    case CloseReason::kStatelessReset:
      return "stateless_reset";
    case CloseReason::kTransportError:
      return "transport_error";
    case CloseReason::kUnreachable:
      return "unreachable";
    case CloseReason::kUnknownCode:
      return "unknown_code";
  }
  return "unknown_code";
}

std::string_view OffenceName(Offence offence) {
  switch (offence) {
    case Offence::kOversizeEnvelope:
      return "oversize_envelope";
    case Offence::kIncompleteEnvelopes:
      return "incomplete_envelopes";
    case Offence::kWrongHash:
      return "wrong_hash";
    case Offence::kUnsolicited:
      return "unsolicited";
    case Offence::kMalformedPayload:
      return "malformed_payload";
    case Offence::kOverEager:
      return "over_eager";
    case Offence::kInvalidEnvelope:
      return "invalid_envelope";
    case Offence::kMalformedTransaction:
      return "malformed_transaction";
  }
  return "unknown";
}

}  // namespace overlay
