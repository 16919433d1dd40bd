#include "flood/base/wire_codec.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "flood/base/check.h"
#include "flood/base/limits.h"
#include "flood/base/status_macros.h"
#include "fmt/format.h"
#include "overlay/v1/peer.pb.h"

namespace overlay {
namespace {

namespace pb = ::overlay::v1::peer;

static_assert(static_cast<int>(StreamKind::kScp) == pb::STREAM_KIND_SCP);
static_assert(static_cast<int>(StreamKind::kControl) == pb::STREAM_KIND_CONTROL);
static_assert(static_cast<int>(StreamKind::kTxControl) == pb::STREAM_KIND_TX_CONTROL);
static_assert(static_cast<int>(StreamKind::kTxBodies) == pb::STREAM_KIND_TX_BODIES);
static_assert(static_cast<int>(StreamKind::kSet) == pb::STREAM_KIND_SET);
static_assert(static_cast<int>(StreamKind::kState) == pb::STREAM_KIND_STATE);
static_assert(static_cast<int>(StreamKind::kGossip) == pb::STREAM_KIND_GOSSIP);
static_assert(static_cast<int>(FrameType::kHello) == pb::FRAME_TYPE_HELLO);
static_assert(static_cast<int>(FrameType::kHaveSets) == pb::FRAME_TYPE_HAVE_SETS);
static_assert(static_cast<int>(FrameType::kGetScpState) == pb::FRAME_TYPE_GET_SCP_STATE);
static_assert(static_cast<int>(FrameType::kCoreStatus) == pb::FRAME_TYPE_CORE_STATUS);
static_assert(static_cast<int>(FrameType::kPing) == pb::FRAME_TYPE_PING);
static_assert(static_cast<int>(FrameType::kPong) == pb::FRAME_TYPE_PONG);
static_assert(static_cast<int>(FrameType::kGoaway) == pb::FRAME_TYPE_GOAWAY);
static_assert(static_cast<int>(FrameType::kInv) == pb::FRAME_TYPE_INV);
static_assert(static_cast<int>(FrameType::kFeeFilter) == pb::FRAME_TYPE_FEE_FILTER);
static_assert(static_cast<int>(FrameType::kGetData) == pb::FRAME_TYPE_GET_DATA);
static_assert(static_cast<int>(FrameType::kSetRequest) == pb::FRAME_TYPE_SET_REQUEST);
static_assert(static_cast<int>(FrameType::kSetAnswer) == pb::FRAME_TYPE_SET_ANSWER);
static_assert(static_cast<int>(FrameType::kStateAnswer) == pb::FRAME_TYPE_STATE_ANSWER);
static_assert(static_cast<int>(SetKind::kTxSet) == pb::SET_KIND_TX_SET);
static_assert(static_cast<int>(SetKind::kQuorumSet) == pb::SET_KIND_QUORUM_SET);

constexpr size_t kAgentBytesMax = 64;
constexpr size_t kGoawayReasonBytesMax = 128;
constexpr std::chrono::milliseconds kRedialAfterMax = std::chrono::minutes(10);
constexpr int kLanesListedMax = 4;  // in a fee filter: the most lanes there will be
constexpr int kEncodingsListedMax = 8;

absl::Status Malformed(std::string text) { return absl::InvalidArgumentError(std::move(text)); }
absl::Status TooLarge(std::string text) { return absl::ResourceExhaustedError(std::move(text)); }

bool IsPrintable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c <= 0x7e; });
}

// What we say of ourselves for people: cut and cleaned, so that the other end takes it.
std::string Cleaned(std::string_view text, size_t bytes_max) {
  std::string clean(text.substr(0, bytes_max));
  for (char& c : clean) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return clean;
}

absl::Status CheckText(std::string_view field, std::string_view text, size_t bytes_max) {
  if (text.size() > bytes_max) {
    return TooLarge(fmt::format("{}: {} bytes, at most {}", field, text.size(), bytes_max));
  }
  if (!IsPrintable(text)) return Malformed(fmt::format("{}: not printable ASCII", field));
  return absl::OkStatus();
}

template <class Hash>
absl::Status ReadHash(std::string_view field, std::string_view raw, Hash& out) {
  std::optional<Hash> hash = Hash::FromBytes(raw);
  if (!hash) return Malformed(fmt::format("{}: {} bytes, not {}", field, raw.size(), kHashBytes));
  out = *hash;
  return absl::OkStatus();
}

// A packed list: n x 32 bytes, 1 to `count_max` of them.
template <class Hash>
absl::Status ReadHashes(std::string_view field, std::string_view packed, size_t count_max,
                        std::vector<Hash>& out) {
  if (packed.empty()) return Malformed(fmt::format("{}: empty", field));
  if (packed.size() % kHashBytes != 0) {
    return Malformed(
        fmt::format("{}: {} bytes, not a multiple of {}", field, packed.size(), kHashBytes));
  }
  const size_t count = packed.size() / kHashBytes;
  if (count > count_max) {
    return TooLarge(fmt::format("{}: {} hashes, at most {}", field, count, count_max));
  }
  out.reserve(count);
  for (size_t at = 0; at < packed.size(); at += kHashBytes) {
    out.push_back(*Hash::FromBytes(packed.substr(at, kHashBytes)));
  }
  return absl::OkStatus();
}

absl::Status ReadSetKey(std::string_view message, pb::SetKind kind, std::string_view hash,
                        SetKey& out) {
  switch (kind) {
    case pb::SET_KIND_TX_SET:
      out.kind = SetKind::kTxSet;
      break;
    case pb::SET_KIND_QUORUM_SET:
      out.kind = SetKind::kQuorumSet;
      break;
    default:
      return Malformed(
          fmt::format("{}.kind: {} is no kind of set", message, static_cast<int>(kind)));
  }
  OVERLAY_RETURN_IF_ERROR(ReadHash(fmt::format("{}.hash", message), hash, out.hash));
  if (out.hash.IsZero()) return Malformed(fmt::format("{}.hash: zero", message));
  return absl::OkStatus();
}

std::optional<Lane> LaneOf(int lane) {
  switch (lane) {
    case pb::LANE_CLASSIC:
      return Lane::kClassic;
    case pb::LANE_SOROBAN:
      return Lane::kSoroban;
    default:
      return std::nullopt;
  }
}

pb::Lane LaneNumber(Lane lane) {
  switch (lane) {
    case Lane::kClassic:
      return pb::LANE_CLASSIC;
    case Lane::kSoroban:
      return pb::LANE_SOROBAN;
  }
  OVERLAY_CHECK(false);
}

template <class Message>
Bytes FrameOf(FrameType type, const Message& message) {
  const size_t body_bytes = message.ByteSizeLong();
  OVERLAY_CHECK(body_bytes <= kFrameBytesMax);
  std::string frame(kFrameHeaderBytes + body_bytes, '\0');
  frame[0] = static_cast<char>(type);
  const auto length = EncodeLength(static_cast<uint32_t>(body_bytes));
  std::copy(length.begin(), length.end(), frame.begin() + 1);
  message.SerializeWithCachedSizesToArray(reinterpret_cast<uint8_t*>(&frame[kFrameHeaderBytes]));
  return Bytes::Take(std::move(frame));
}

template <class Message>
absl::Status Parse(std::string_view name, const Frame& frame, Message& out) {
  if (frame.body.size() > kFrameBytesMax) {
    return TooLarge(
        fmt::format("{}: {} bytes, at most {}", name, frame.body.size(), kFrameBytesMax));
  }
  if (!out.ParseFromArray(frame.body.data(), static_cast<int>(frame.body.size()))) {
    return Malformed(fmt::format("{}: not a message of that type", name));
  }
  return absl::OkStatus();
}

// What a frame is that its stream has no message for: OK means skip it.
absl::Status Misplaced(std::string_view stream, uint8_t type) {
  if (IsIgnorable(type)) return absl::OkStatus();
  if (IsKnownFrame(type)) {
    return absl::FailedPreconditionError(
        fmt::format("frame type 0x{:02x} on the {} stream", type, stream));
  }
  return Malformed(fmt::format("unknown frame type 0x{:02x} on the {} stream", type, stream));
}

// Streams whose only frame is of one type: tells that one (true) from those to skip.
absl::StatusOr<bool> IsExpected(std::string_view stream, const Frame& frame, FrameType expected) {
  if (frame.type == static_cast<uint8_t>(expected)) return true;
  OVERLAY_RETURN_IF_ERROR(Misplaced(stream, frame.type));
  return false;
}

// ---- control ------------------------------------------------------------------------------------

Bytes Encode(const Hello& hello) {
  OVERLAY_CHECK(hello.version_min >= 1 && hello.version_min <= hello.version_max);
  pb::Hello wire;
  wire.set_network_id(std::string(hello.network.view()));
  wire.set_version_min(hello.version_min);
  wire.set_version_max(hello.version_max);
  wire.set_features(hello.features);
  wire.set_listen_port(hello.listen_port);
  wire.set_instance_nonce(hello.instance_nonce);
  wire.set_agent(Cleaned(hello.agent, kAgentBytesMax));
  return FrameOf(FrameType::kHello, wire);
}

absl::Status Decode(const Frame& frame, Hello& out) {
  pb::Hello wire;
  OVERLAY_RETURN_IF_ERROR(Parse("Hello", frame, wire));
  OVERLAY_RETURN_IF_ERROR(ReadHash("Hello.network_id", wire.network_id(), out.network));
  if (wire.version_min() < 1 || wire.version_min() > wire.version_max()) {
    return Malformed(fmt::format("Hello.version_min: {} to {} is no range of versions",
                                 wire.version_min(), wire.version_max()));
  }
  if (wire.listen_port() > UINT16_MAX) {
    return Malformed(fmt::format("Hello.listen_port: {} is no port", wire.listen_port()));
  }
  OVERLAY_RETURN_IF_ERROR(CheckText("Hello.agent", wire.agent(), kAgentBytesMax));
  out.version_min = wire.version_min();
  out.version_max = wire.version_max();
  out.features = wire.features();
  out.listen_port = static_cast<uint16_t>(wire.listen_port());
  out.instance_nonce = wire.instance_nonce();
  out.agent = wire.agent();
  return absl::OkStatus();
}

Bytes Encode(const HaveSets& have) {
  OVERLAY_CHECK(!have.sets.empty() && have.sets.size() <= kHaveSetsEntryCountMax);
  pb::HaveSets wire;
  for (const SetAd& ad : have.sets) {
    pb::SetAd& entry = *wire.add_sets();
    entry.set_kind(static_cast<pb::SetKind>(ad.key.kind));
    entry.set_hash(std::string(ad.key.hash.view()));
    entry.set_slot(ad.slot.value);
  }
  return FrameOf(FrameType::kHaveSets, wire);
}

absl::Status Decode(const Frame& frame, HaveSets& out) {
  pb::HaveSets wire;
  OVERLAY_RETURN_IF_ERROR(Parse("HaveSets", frame, wire));
  if (wire.sets().empty()) return Malformed("HaveSets.sets: empty");
  if (wire.sets_size() > static_cast<int>(kHaveSetsEntryCountMax)) {
    return TooLarge(fmt::format("HaveSets.sets: {} entries, at most {}", wire.sets_size(),
                                kHaveSetsEntryCountMax));
  }
  out.sets.reserve(static_cast<size_t>(wire.sets_size()));
  for (const pb::SetAd& entry : wire.sets()) {
    SetAd ad;
    OVERLAY_RETURN_IF_ERROR(ReadSetKey("HaveSets.sets", entry.kind(), entry.hash(), ad.key));
    ad.slot = LedgerSeq{entry.slot()};
    out.sets.push_back(ad);
  }
  return absl::OkStatus();
}

Bytes Encode(const GetScpState& get) {
  pb::GetScpState wire;
  wire.set_id(get.id);
  wire.set_from_slot(get.from.value);
  return FrameOf(FrameType::kGetScpState, wire);
}

absl::Status Decode(const Frame& frame, GetScpState& out) {
  pb::GetScpState wire;
  OVERLAY_RETURN_IF_ERROR(Parse("GetScpState", frame, wire));
  out = {.id = wire.id(), .from = LedgerSeq{wire.from_slot()}};
  return absl::OkStatus();
}

Bytes Encode(const CoreStatus& status) {
  pb::CoreStatus wire;
  wire.set_present(status.present);
  return FrameOf(FrameType::kCoreStatus, wire);
}

absl::Status Decode(const Frame& frame, CoreStatus& out) {
  pb::CoreStatus wire;
  OVERLAY_RETURN_IF_ERROR(Parse("CoreStatus", frame, wire));
  out.present = wire.present();
  return absl::OkStatus();
}

Bytes Encode(const Ping& ping) {
  pb::Ping wire;
  wire.set_id(ping.id);
  wire.set_sent_unix_us(ping.sent.unix_us);
  return FrameOf(FrameType::kPing, wire);
}

absl::Status Decode(const Frame& frame, Ping& out) {
  pb::Ping wire;
  OVERLAY_RETURN_IF_ERROR(Parse("Ping", frame, wire));
  out = {.id = wire.id(), .sent = WallTime{wire.sent_unix_us()}};
  return absl::OkStatus();
}

Bytes Encode(const Pong& pong) {
  pb::Pong wire;
  wire.set_id(pong.id);
  wire.set_ping_sent_unix_us(pong.ping_sent.unix_us);
  wire.set_sent_unix_us(pong.sent.unix_us);
  return FrameOf(FrameType::kPong, wire);
}

absl::Status Decode(const Frame& frame, Pong& out) {
  pb::Pong wire;
  OVERLAY_RETURN_IF_ERROR(Parse("Pong", frame, wire));
  out = {.id = wire.id(),
         .ping_sent = WallTime{wire.ping_sent_unix_us()},
         .sent = WallTime{wire.sent_unix_us()}};
  return absl::OkStatus();
}

Bytes Encode(const Goaway& goaway) {
  const auto redial_after =
      std::chrono::duration_cast<std::chrono::milliseconds>(goaway.redial_after);
  OVERLAY_CHECK(redial_after.count() >= 0 && redial_after <= kRedialAfterMax);
  pb::Goaway wire;
  wire.set_reason(Cleaned(goaway.reason, kGoawayReasonBytesMax));
  wire.set_redial_after_ms(static_cast<uint32_t>(redial_after.count()));
  return FrameOf(FrameType::kGoaway, wire);
}

absl::Status Decode(const Frame& frame, Goaway& out) {
  pb::Goaway wire;
  OVERLAY_RETURN_IF_ERROR(Parse("Goaway", frame, wire));
  OVERLAY_RETURN_IF_ERROR(CheckText("Goaway.reason", wire.reason(), kGoawayReasonBytesMax));
  const std::chrono::milliseconds redial_after(wire.redial_after_ms());
  if (redial_after > kRedialAfterMax) {
    return Malformed(fmt::format("Goaway.redial_after_ms: {}, at most {}", redial_after.count(),
                                 kRedialAfterMax.count()));
  }
  out.reason = wire.reason();
  out.redial_after = redial_after;
  return absl::OkStatus();
}

// ---- tx control ---------------------------------------------------------------------------------

Bytes Encode(const Inv& inv) {
  OVERLAY_CHECK(!inv.entries.empty() && inv.entries.size() <= kInvEntryCountMax);
  pb::Inv wire;
  const int count = static_cast<int>(inv.entries.size());
  wire.mutable_hashes()->reserve(inv.entries.size() * kHashBytes);
  wire.mutable_fees_per_op()->Reserve(count);
  wire.mutable_lanes()->Reserve(count);
  wire.mutable_sizes_bytes()->Reserve(count);
  for (const InvEntry& entry : inv.entries) {
    OVERLAY_CHECK(entry.size_bytes > 0);
    wire.mutable_hashes()->append(entry.hash.view());
    wire.add_fees_per_op(entry.fee_per_op);
    wire.add_lanes(LaneNumber(entry.lane));
    wire.add_sizes_bytes(entry.size_bytes);
  }
  return FrameOf(FrameType::kInv, wire);
}

absl::Status Decode(const Frame& frame, Inv& out) {
  pb::Inv wire;
  OVERLAY_RETURN_IF_ERROR(Parse("Inv", frame, wire));
  std::vector<TxHash> hashes;
  OVERLAY_RETURN_IF_ERROR(ReadHashes("Inv.hashes", wire.hashes(), kInvEntryCountMax, hashes));
  const int count = static_cast<int>(hashes.size());
  if (wire.fees_per_op_size() != count || wire.lanes_size() != count ||
      wire.sizes_bytes_size() != count) {
    return Malformed(fmt::format("Inv: {} hashes, {} fees, {} lanes, {} sizes", count,
                                 wire.fees_per_op_size(), wire.lanes_size(),
                                 wire.sizes_bytes_size()));
  }
  out.entries.reserve(hashes.size());
  for (int i = 0; i < count; ++i) {
    if (wire.sizes_bytes(i) == 0) return Malformed("Inv.sizes_bytes: 0");
    const std::optional<Lane> lane = LaneOf(wire.lanes(i));
    if (!lane) continue;  // R3
    out.entries.push_back({.hash = hashes[static_cast<size_t>(i)],
                           .fee_per_op = wire.fees_per_op(i),
                           .lane = *lane,
                           .size_bytes = wire.sizes_bytes(i)});
  }
  return absl::OkStatus();
}

Bytes Encode(const FeeFilter& filter) {
  pb::FeeFilter wire;
  for (size_t lane = 0; lane < kLaneCount; ++lane) {
    if (filter.fee_per_op_min[lane] == 0) continue;  // absent means none
    pb::LaneMinimum& minimum = *wire.add_lanes();
    minimum.set_lane(LaneNumber(static_cast<Lane>(lane)));
    minimum.set_fee_per_op_min(filter.fee_per_op_min[lane]);
  }
  return FrameOf(FrameType::kFeeFilter, wire);
}

absl::Status Decode(const Frame& frame, FeeFilter& out) {
  pb::FeeFilter wire;
  OVERLAY_RETURN_IF_ERROR(Parse("FeeFilter", frame, wire));
  if (wire.lanes_size() > kLanesListedMax) {
    return TooLarge(
        fmt::format("FeeFilter.lanes: {} entries, at most {}", wire.lanes_size(), kLanesListedMax));
  }
  std::array<bool, kLaneCount> listed{};
  for (const pb::LaneMinimum& minimum : wire.lanes()) {
    const std::optional<Lane> lane = LaneOf(minimum.lane());
    if (!lane) continue;  // R3
    const size_t index = static_cast<size_t>(*lane);
    if (listed[index]) return Malformed("FeeFilter.lanes: one lane twice");
    listed[index] = true;
    out.fee_per_op_min[index] = minimum.fee_per_op_min();
  }
  return absl::OkStatus();
}

template <class Message, class Variant>
absl::StatusOr<std::optional<Variant>> DecodeAs(const Frame& frame) {
  Message message;
  OVERLAY_RETURN_IF_ERROR(Decode(frame, message));
  return std::optional<Variant>(Variant(std::move(message)));
}

}  // namespace

// ---- messages -----------------------------------------------------------------------------------

Bytes EncodeControl(const ControlMessage& message) {
  return std::visit([](const auto& m) { return Encode(m); }, message);
}

absl::StatusOr<std::optional<ControlMessage>> DecodeControl(const Frame& frame) {
  switch (static_cast<FrameType>(frame.type)) {
    case FrameType::kHello:
      return DecodeAs<Hello, ControlMessage>(frame);
    case FrameType::kHaveSets:
      return DecodeAs<HaveSets, ControlMessage>(frame);
    case FrameType::kGetScpState:
      return DecodeAs<GetScpState, ControlMessage>(frame);
    case FrameType::kCoreStatus:
      return DecodeAs<CoreStatus, ControlMessage>(frame);
    case FrameType::kPing:
      return DecodeAs<Ping, ControlMessage>(frame);
    case FrameType::kPong:
      return DecodeAs<Pong, ControlMessage>(frame);
    case FrameType::kGoaway:
      return DecodeAs<Goaway, ControlMessage>(frame);
    case FrameType::kInv:
    case FrameType::kFeeFilter:
    case FrameType::kGetData:
    case FrameType::kSetRequest:
    case FrameType::kSetAnswer:
    case FrameType::kStateAnswer:
      break;
  }
  OVERLAY_RETURN_IF_ERROR(Misplaced("control", frame.type));
  return std::optional<ControlMessage>();
}

Bytes EncodeTxControl(const TxControlMessage& message) {
  return std::visit([](const auto& m) { return Encode(m); }, message);
}

absl::StatusOr<std::optional<TxControlMessage>> DecodeTxControl(const Frame& frame) {
  if (frame.type == static_cast<uint8_t>(FrameType::kInv)) {
    return DecodeAs<Inv, TxControlMessage>(frame);
  }
  if (frame.type == static_cast<uint8_t>(FrameType::kFeeFilter)) {
    return DecodeAs<FeeFilter, TxControlMessage>(frame);
  }
  OVERLAY_RETURN_IF_ERROR(Misplaced("tx control", frame.type));
  return std::optional<TxControlMessage>();
}

Bytes EncodeGetData(const GetData& message) {
  OVERLAY_CHECK(!message.hashes.empty() && message.hashes.size() <= kGetDataHashCountMax);
  pb::GetData wire;
  wire.mutable_hashes()->reserve(message.hashes.size() * kHashBytes);
  for (const TxHash& hash : message.hashes) wire.mutable_hashes()->append(hash.view());
  return FrameOf(FrameType::kGetData, wire);
}

absl::StatusOr<std::optional<GetData>> DecodeGetData(const Frame& frame) {
  absl::StatusOr<bool> expected = IsExpected("tx bodies", frame, FrameType::kGetData);
  if (!expected.ok()) return expected.status();
  if (!*expected) return std::optional<GetData>();
  pb::GetData wire;
  OVERLAY_RETURN_IF_ERROR(Parse("GetData", frame, wire));
  std::optional<GetData> message(std::in_place);
  OVERLAY_RETURN_IF_ERROR(
      ReadHashes("GetData.hashes", wire.hashes(), kGetDataHashCountMax, message->hashes));
  return message;
}

Bytes EncodeSetRequest(const SetRequest& message) {
  OVERLAY_CHECK(!message.key.hash.IsZero());
  pb::SetRequest wire;
  wire.set_kind(static_cast<pb::SetKind>(message.key.kind));
  wire.set_hash(std::string(message.key.hash.view()));
  if (message.accept_zstd) wire.add_accepted(pb::SET_ENCODING_ZSTD);
  wire.set_offset(message.offset);
  return FrameOf(FrameType::kSetRequest, wire);
}

absl::StatusOr<std::optional<SetRequest>> DecodeSetRequest(const Frame& frame) {
  absl::StatusOr<bool> expected = IsExpected("set", frame, FrameType::kSetRequest);
  if (!expected.ok()) return expected.status();
  if (!*expected) return std::optional<SetRequest>();
  pb::SetRequest wire;
  OVERLAY_RETURN_IF_ERROR(Parse("SetRequest", frame, wire));
  std::optional<SetRequest> message(std::in_place);
  OVERLAY_RETURN_IF_ERROR(ReadSetKey("SetRequest", wire.kind(), wire.hash(), message->key));
  if (wire.accepted_size() > kEncodingsListedMax) {
    return TooLarge(fmt::format("SetRequest.accepted: {} entries, at most {}", wire.accepted_size(),
                                kEncodingsListedMax));
  }
  message->accept_zstd = std::find(wire.accepted().begin(), wire.accepted().end(),
                                   pb::SET_ENCODING_ZSTD) != wire.accepted().end();
  message->offset = wire.offset();
  return message;
}

Bytes EncodeSetHeader(const SetHeader& message) {
  pb::SetAnswer wire;
  if (message.found) {
    OVERLAY_CHECK(message.encoded_bytes >= 1 && message.encoded_bytes <= message.total_bytes);
    wire.set_found(true);
    wire.set_encoding(message.encoding == SetEncoding::kZstd ? pb::SET_ENCODING_ZSTD
                                                             : pb::SET_ENCODING_IDENTITY);
    wire.set_total_bytes(message.total_bytes);
    wire.set_encoded_bytes(message.encoded_bytes);
  }
  return FrameOf(FrameType::kSetAnswer, wire);
}

absl::StatusOr<std::optional<SetHeader>> DecodeSetHeader(const Frame& frame,
                                                         const SetRequest& asked,
                                                         uint64_t total_bytes_max) {
  absl::StatusOr<bool> expected = IsExpected("set", frame, FrameType::kSetAnswer);
  if (!expected.ok()) return expected.status();
  if (!*expected) return std::optional<SetHeader>();
  pb::SetAnswer wire;
  OVERLAY_RETURN_IF_ERROR(Parse("SetAnswer", frame, wire));
  std::optional<SetHeader> message(std::in_place);
  if (!wire.found()) return message;
  message->found = true;
  message->total_bytes = wire.total_bytes();
  message->encoded_bytes = wire.encoded_bytes();
  if (message->total_bytes > total_bytes_max) {
    return TooLarge(fmt::format("SetAnswer.total_bytes: {}, at most {}", message->total_bytes,
                                total_bytes_max));
  }
  if (message->encoded_bytes == 0 || message->encoded_bytes > message->total_bytes) {
    return Malformed(fmt::format("SetAnswer.encoded_bytes: {} of a set of {}",
                                 message->encoded_bytes, message->total_bytes));
  }
  switch (wire.encoding()) {
    case pb::SET_ENCODING_IDENTITY:
      if (asked.offset >= message->total_bytes ||
          message->encoded_bytes != message->total_bytes - asked.offset) {
        return Malformed(fmt::format("SetAnswer.encoded_bytes: {} of a set of {} from {}",
                                     message->encoded_bytes, message->total_bytes, asked.offset));
      }
      message->encoding = SetEncoding::kIdentity;
      return message;
    case pb::SET_ENCODING_ZSTD:
      if (!asked.accept_zstd || asked.offset != 0) {
        return Malformed("SetAnswer.encoding: zstd, which was not asked for");
      }
      message->encoding = SetEncoding::kZstd;
      return message;
    default:
      return Malformed(
          fmt::format("SetAnswer.encoding: {} is no encoding", static_cast<int>(wire.encoding())));
  }
}

Bytes EncodeStateHeader(const StateHeader& message) {
  pb::StateAnswer wire;
  wire.set_id(message.id);
  wire.set_refused(message.refused);
  return FrameOf(FrameType::kStateAnswer, wire);
}

absl::StatusOr<std::optional<StateHeader>> DecodeStateHeader(const Frame& frame) {
  absl::StatusOr<bool> expected = IsExpected("state", frame, FrameType::kStateAnswer);
  if (!expected.ok()) return expected.status();
  if (!*expected) return std::optional<StateHeader>();
  pb::StateAnswer wire;
  OVERLAY_RETURN_IF_ERROR(Parse("StateAnswer", frame, wire));
  return std::optional<StateHeader>(StateHeader{.id = wire.id(), .refused = wire.refused()});
}

// ---- what is not protobuf -----------------------------------------------------------------------

absl::StatusOr<BodyOutcome> DecodeBodyOutcome(uint8_t raw) {
  switch (static_cast<BodyOutcome>(raw)) {
    case BodyOutcome::kBody:
    case BodyOutcome::kNotFound:
    case BodyOutcome::kLater:
      return static_cast<BodyOutcome>(raw);
  }
  return Malformed(fmt::format("body outcome: {} is none", raw));
}

}  // namespace overlay
