// Messages to bytes and back: every message whole, every bound at, below and above, every refusal
// by code and field, and what a later version may add.
#include "flood/base/wire_codec.h"

#include <chrono>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "overlay/v1/peer.pb.h"
#include "tests/support/status_matchers.h"

namespace overlay {
namespace {

namespace pb = ::overlay::v1::peer;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

constexpr absl::StatusCode kMalformed = absl::StatusCode::kInvalidArgument;
constexpr absl::StatusCode kTooLarge = absl::StatusCode::kResourceExhausted;
constexpr absl::StatusCode kWrongStream = absl::StatusCode::kFailedPrecondition;

template <class Hash>
Hash HashOfByte(uint8_t byte) {
  Hash hash;
  hash.bytes.fill(byte);
  return hash;
}

Frame FrameIn(const Bytes& encoded) {
  FrameReader reader;
  absl::Span<const uint8_t> data = encoded.span();
  auto frame = reader.Next(data);
  EXPECT_OK(frame);
  EXPECT_TRUE(data.empty());
  return **frame;
}

// A frame around any body; `body` must outlive it.
Frame FrameOf(FrameType type, const std::string& body) {
  return {static_cast<uint8_t>(type),
          absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(body.data()), body.size())};
}

Hello GoodHello() {
  return {.network = HashOfByte<NetworkId>(1),
          .version_min = 1,
          .version_max = 3,
          .features = 0x8000000000000001,
          .listen_port = 65535,
          .instance_nonce = 0xfedcba9876543210,
          .agent = "overlayd/0.1.0"};
}

SetRequest GoodSetRequest() {
  return {.key = {SetKind::kTxSet, HashOfByte<SetHash>(4)}, .accept_zstd = true, .offset = 0};
}

Inv InvOf(size_t count) {
  Inv inv;
  for (size_t i = 0; i < count; ++i) {
    TxHash hash = HashOfByte<TxHash>(static_cast<uint8_t>(i));
    hash.bytes[0] = static_cast<uint8_t>(i >> 8);
    inv.entries.push_back({.hash = hash,
                           .fee_per_op = UINT64_MAX - i,
                           .lane = i % 2 == 0 ? Lane::kClassic : Lane::kSoroban,
                           .size_bytes = UINT32_MAX});
  }
  return inv;
}

// ---- there and back -----------------------------------------------------------------------------

TEST(WireCodec, EachControlMessageComesBackWhole) {
  HaveSets full;
  for (uint8_t i = 1; i <= 64; ++i) {
    full.sets.push_back(
        {.key = {i % 2 ? SetKind::kTxSet : SetKind::kQuorumSet, HashOfByte<SetHash>(i)},
         .slot = LedgerSeq{UINT64_MAX - i}});
  }
  const std::vector<ControlMessage> messages = {
      GoodHello(),
      HaveSets{{full.sets[0]}},
      full,
      GetScpState{.id = UINT64_MAX, .from = LedgerSeq{UINT64_MAX}},
      GetScpState{},
      CoreStatus{.present = true},
      CoreStatus{.present = false},
      Ping{.id = 1, .sent = WallTime{INT64_MIN}},
      Pong{.id = 2, .ping_sent = WallTime{INT64_MAX}, .sent = WallTime{-1}},
      Goaway{.reason = "drain", .redial_after = 10min},
      Goaway{},
  };
  for (const ControlMessage& message : messages) {
    const Bytes encoded = EncodeControl(message);
    const auto decoded = DecodeControl(FrameIn(encoded));
    ASSERT_OK(decoded);
    ASSERT_TRUE(decoded->has_value());
    EXPECT_TRUE(**decoded == message) << "variant " << message.index();
  }
}

TEST(WireCodec, EachTxControlMessageComesBackWhole) {
  for (const TxControlMessage& message :
       {TxControlMessage(InvOf(1)), TxControlMessage(InvOf(1000)),
        TxControlMessage(FeeFilter{{0, UINT64_MAX}}), TxControlMessage(FeeFilter{{7, 0}}),
        TxControlMessage(FeeFilter{})}) {
    const Bytes encoded = EncodeTxControl(message);
    const auto decoded = DecodeTxControl(FrameIn(encoded));
    ASSERT_OK(decoded);
    ASSERT_TRUE(decoded->has_value());
    EXPECT_TRUE(**decoded == message);
  }
}

TEST(WireCodec, RequestsAndHeadersComeBackWhole) {
  GetData get;
  for (const InvEntry& entry : InvOf(1000).entries) get.hashes.push_back(entry.hash);
  const Bytes get_bytes = EncodeGetData(get);
  EXPECT_EQ(**DecodeGetData(FrameIn(get_bytes)), get);

  SetRequest request = GoodSetRequest();
  const Bytes request_bytes = EncodeSetRequest(request);
  EXPECT_EQ(**DecodeSetRequest(FrameIn(request_bytes)), request);
  request = {.key = {SetKind::kQuorumSet, request.key.hash}, .offset = UINT64_MAX};
  const Bytes from_offset = EncodeSetRequest(request);
  EXPECT_EQ(**DecodeSetRequest(FrameIn(from_offset)), request);

  for (const SetHeader& header :
       {SetHeader{}, SetHeader{.found = true, .total_bytes = 100, .encoded_bytes = 100},
        SetHeader{.found = true,
        .encoding = SetEncoding::kZstd,
        .total_bytes = 100,
        .encoded_bytes = 1}}) {
    const Bytes encoded = EncodeSetHeader(header);
    EXPECT_EQ(**DecodeSetHeader(FrameIn(encoded), GoodSetRequest(), 100), header);
  }
  for (const StateHeader& header :
       {StateHeader{.id = 0, .refused = true}, StateHeader{.id = UINT64_MAX, .refused = false}}) {
    const Bytes encoded = EncodeStateHeader(header);
    EXPECT_EQ(**DecodeStateHeader(FrameIn(encoded)), header);
  }
}

// The bytes themselves, so that both ends of the codec cannot change together unnoticed.
TEST(WireCodec, BytesAreThoseOfTheProtocol) {
  const Bytes status = EncodeControl(CoreStatus{.present = true});
  EXPECT_EQ(HexEncode(status.span()), "04000000020801");
  const Bytes get = EncodeControl(GetScpState{.id = 5, .from = LedgerSeq{300}});
  EXPECT_EQ(HexEncode(get.span()), "0300000005080510ac02");
  const Bytes state = EncodeStateHeader({.id = 1, .refused = true});
  EXPECT_EQ(HexEncode(state.span()), "280000000408011001");
  const Bytes data = EncodeGetData({{HashOfByte<TxHash>(0xab)}});
  EXPECT_EQ(HexEncode(data.span()), "18000000220a20" + HashOfByte<TxHash>(0xab).Hex());
  EXPECT_EQ(*DecodeBodyOutcome(1), BodyOutcome::kBody);
  EXPECT_EQ(*DecodeBodyOutcome(2), BodyOutcome::kNotFound);
  EXPECT_EQ(*DecodeBodyOutcome(3), BodyOutcome::kLater);
}

// The largest messages fit a frame: their bounds and the frame's were chosen together.
TEST(WireCodec, TheLargestMessagesFitAFrame) {
  EXPECT_LE(EncodeTxControl(InvOf(1000)).size(), kFrameHeaderBytes + kFrameBytesMax);
}

// ---- texts of our own ---------------------------------------------------------------------------

TEST(WireCodec, OwnTextsAreCutAndCleaned) {
  Hello hello = GoodHello();
  hello.agent = std::string(65, 'a') + "b";
  hello.agent[0] = '\n';
  const Bytes encoded = EncodeControl(hello);
  const auto decoded = DecodeControl(FrameIn(encoded));
  ASSERT_OK(decoded);
  EXPECT_EQ(std::get<Hello>(**decoded).agent, "?" + std::string(63, 'a'));

  const Bytes goaway = EncodeControl(Goaway{.reason = std::string(200, '\xff')});
  EXPECT_EQ(std::get<Goaway>(**DecodeControl(FrameIn(goaway))).reason, std::string(128, '?'));
}

// ---- refusals -----------------------------------------------------------------------------------

template <class Message>
Message Parsed(const Bytes& encoded) {
  Message wire;
  const Frame frame = FrameIn(encoded);
  EXPECT_TRUE(wire.ParseFromArray(frame.body.data(), static_cast<int>(frame.body.size())));
  return wire;
}

absl::Status ControlStatus(FrameType type, const std::string& body) {
  return DecodeControl(FrameOf(type, body)).status();
}
absl::Status TxControlStatus(FrameType type, const std::string& body) {
  return DecodeTxControl(FrameOf(type, body)).status();
}

TEST(WireCodec, HelloRefusesByField) {
  const auto status = [](const std::function<void(pb::Hello&)>& change) {
    pb::Hello wire = Parsed<pb::Hello>(EncodeControl(GoodHello()));
    change(wire);
    return ControlStatus(FrameType::kHello, wire.SerializeAsString());
  };
  EXPECT_OK(status([](pb::Hello& h) { h.set_agent(std::string(64, '~')); }));
  EXPECT_THAT(status([](pb::Hello& h) { h.set_network_id(std::string(31, 'x')); }),
              StatusIs(kMalformed, HasSubstr("Hello.network_id: 31 bytes")));
  EXPECT_THAT(status([](pb::Hello& h) { h.set_version_min(0); }),
              StatusIs(kMalformed, HasSubstr("Hello.version_min")));
  EXPECT_THAT(status([](pb::Hello& h) { h.set_version_min(4); }),
              StatusIs(kMalformed, HasSubstr("4 to 3 is no range")));
  EXPECT_THAT(status([](pb::Hello& h) { h.set_listen_port(65536); }),
              StatusIs(kMalformed, HasSubstr("Hello.listen_port: 65536")));
  EXPECT_THAT(status([](pb::Hello& h) { h.set_agent(std::string(65, 'a')); }),
              StatusIs(kTooLarge, HasSubstr("Hello.agent: 65 bytes")));
  EXPECT_THAT(status([](pb::Hello& h) { h.set_agent("a\tb"); }),
              StatusIs(kMalformed, HasSubstr("Hello.agent: not printable")));
  EXPECT_THAT(ControlStatus(FrameType::kHello, "\x0a\x20short"),
              StatusIs(kMalformed, HasSubstr("Hello: not a message")));
}

TEST(WireCodec, HaveSetsRefusesByField) {
  const auto status = [](int count, const std::function<void(pb::SetAd&)>& change) {
    pb::HaveSets wire;
    for (int i = 0; i < count; ++i) {
      pb::SetAd& ad = *wire.add_sets();
      ad.set_kind(pb::SET_KIND_TX_SET);
      ad.set_hash(std::string(32, 'h'));
      change(ad);
    }
    return ControlStatus(FrameType::kHaveSets, wire.SerializeAsString());
  };
  const auto as_is = [](pb::SetAd&) {};
  EXPECT_OK(status(1, as_is));
  EXPECT_OK(status(64, as_is));
  EXPECT_THAT(status(65, as_is), StatusIs(kTooLarge, HasSubstr("65 entries, at most 64")));
  EXPECT_THAT(status(0, as_is), StatusIs(kMalformed, HasSubstr("HaveSets.sets: empty")));
  EXPECT_THAT(status(1, [](pb::SetAd& ad) { ad.set_hash(std::string(33, 'h')); }),
              StatusIs(kMalformed, HasSubstr("HaveSets.sets.hash: 33 bytes")));
  EXPECT_THAT(status(1, [](pb::SetAd& ad) { ad.set_hash(std::string(32, '\0')); }),
              StatusIs(kMalformed, HasSubstr("HaveSets.sets.hash: zero")));
  for (const int kind : {0, 3}) {
    EXPECT_THAT(status(1, [&](pb::SetAd& ad) { ad.set_kind(static_cast<pb::SetKind>(kind)); }),
                StatusIs(kMalformed, HasSubstr("HaveSets.sets.kind: " + std::to_string(kind))));
  }
}

TEST(WireCodec, GoawayRefusesByField) {
  pb::Goaway wire;
  wire.set_redial_after_ms(600'001);
  EXPECT_THAT(ControlStatus(FrameType::kGoaway, wire.SerializeAsString()),
              StatusIs(kMalformed, HasSubstr("Goaway.redial_after_ms: 600001")));
  wire.set_redial_after_ms(0);
  wire.set_reason(std::string(129, 'r'));
  EXPECT_THAT(ControlStatus(FrameType::kGoaway, wire.SerializeAsString()),
              StatusIs(kTooLarge, HasSubstr("Goaway.reason: 129 bytes")));
}

pb::Inv InvWire(int count) {
  pb::Inv wire;
  wire.set_hashes(std::string(static_cast<size_t>(count) * kHashBytes, 'h'));
  for (int i = 0; i < count; ++i) {
    wire.add_fees_per_op(100);
    wire.add_lanes(pb::LANE_CLASSIC);
    wire.add_sizes_bytes(300);
  }
  return wire;
}

TEST(WireCodec, InvRefusesByField) {
  const auto status = [](const pb::Inv& wire) {
    return TxControlStatus(FrameType::kInv, wire.SerializeAsString());
  };
  EXPECT_OK(status(InvWire(1)));
  EXPECT_OK(status(InvWire(1000)));
  EXPECT_THAT(status(InvWire(1001)), StatusIs(kTooLarge, HasSubstr("1001 hashes, at most 1000")));
  EXPECT_THAT(status(InvWire(0)), StatusIs(kMalformed, HasSubstr("Inv.hashes: empty")));
  pb::Inv cut = InvWire(2);
  cut.mutable_hashes()->pop_back();
  EXPECT_THAT(status(cut), StatusIs(kMalformed, HasSubstr("63 bytes, not a multiple of 32")));
  for (const std::function<void(pb::Inv&)>& grow :
       {std::function<void(pb::Inv&)>([](pb::Inv& inv) { inv.add_fees_per_op(1); }),
        std::function<void(pb::Inv&)>([](pb::Inv& inv) { inv.add_lanes(pb::LANE_SOROBAN); }),
        std::function<void(pb::Inv&)>([](pb::Inv& inv) { inv.add_sizes_bytes(1); }),
        std::function<void(pb::Inv&)>([](pb::Inv& inv) { inv.clear_sizes_bytes(); })}) {
    pb::Inv uneven = InvWire(2);
    grow(uneven);
    EXPECT_THAT(status(uneven), StatusIs(kMalformed, HasSubstr("Inv: 2 hashes")));
  }
  pb::Inv empty_body = InvWire(2);
  empty_body.set_sizes_bytes(1, 0);
  EXPECT_THAT(status(empty_body), StatusIs(kMalformed, HasSubstr("Inv.sizes_bytes: 0")));
}

TEST(WireCodec, FeeFilterRefusesByField) {
  pb::FeeFilter wire;
  for (int i = 0; i < 2; ++i) wire.add_lanes()->set_lane(pb::LANE_SOROBAN);
  EXPECT_THAT(TxControlStatus(FrameType::kFeeFilter, wire.SerializeAsString()),
              StatusIs(kMalformed, HasSubstr("one lane twice")));
  wire.clear_lanes();
  for (int i = 0; i < 5; ++i) wire.add_lanes()->set_lane(static_cast<pb::Lane>(i + 10));
  EXPECT_THAT(TxControlStatus(FrameType::kFeeFilter, wire.SerializeAsString()),
              StatusIs(kTooLarge, HasSubstr("5 entries, at most 4")));
}

TEST(WireCodec, GetDataAndSetRequestRefuseByField) {
  const auto get_status = [](size_t bytes) {
    pb::GetData wire;
    wire.set_hashes(std::string(bytes, 'h'));
    const std::string body = wire.SerializeAsString();
    return DecodeGetData(FrameOf(FrameType::kGetData, body)).status();
  };
  EXPECT_OK(get_status(1000 * 32));
  EXPECT_THAT(get_status(1001 * 32), StatusIs(kTooLarge, HasSubstr("GetData.hashes: 1001")));
  EXPECT_THAT(get_status(33), StatusIs(kMalformed, HasSubstr("GetData.hashes: 33 bytes")));
  EXPECT_THAT(get_status(0), StatusIs(kMalformed, HasSubstr("GetData.hashes: empty")));

  const auto set_status = [](const std::function<void(pb::SetRequest&)>& change) {
    pb::SetRequest wire = Parsed<pb::SetRequest>(EncodeSetRequest(GoodSetRequest()));
    change(wire);
    const std::string body = wire.SerializeAsString();
    return DecodeSetRequest(FrameOf(FrameType::kSetRequest, body)).status();
  };
  EXPECT_THAT(set_status([](pb::SetRequest& r) { r.set_kind(pb::SET_KIND_UNSPECIFIED); }),
              StatusIs(kMalformed, HasSubstr("SetRequest.kind: 0")));
  EXPECT_THAT(set_status([](pb::SetRequest& r) { r.set_hash(""); }),
              StatusIs(kMalformed, HasSubstr("SetRequest.hash: 0 bytes")));
  EXPECT_THAT(set_status([](pb::SetRequest& r) { r.set_hash(std::string(32, '\0')); }),
              StatusIs(kMalformed, HasSubstr("SetRequest.hash: zero")));
  EXPECT_OK(set_status([](pb::SetRequest& r) {
    while (r.accepted_size() < 8) r.add_accepted(pb::SET_ENCODING_ZSTD);
  }));
  EXPECT_THAT(set_status([](pb::SetRequest& r) {
                while (r.accepted_size() < 9) r.add_accepted(pb::SET_ENCODING_ZSTD);
              }),
              StatusIs(kTooLarge, HasSubstr("SetRequest.accepted: 9")));
}

// An answer must fit what was asked: kind's limit, offset, encodings.
TEST(WireCodec, SetAnswerIsCheckedAgainstTheRequest) {
  const auto status = [](const SetRequest& asked, int encoding, uint64_t total, uint64_t encoded) {
    pb::SetAnswer wire;
    wire.set_found(true);
    wire.set_encoding(static_cast<pb::SetEncoding>(encoding));
    wire.set_total_bytes(total);
    wire.set_encoded_bytes(encoded);
    const std::string body = wire.SerializeAsString();
    return DecodeSetHeader(FrameOf(FrameType::kSetAnswer, body), asked, 1000).status();
  };
  const SetRequest whole = GoodSetRequest();
  EXPECT_OK(status(whole, pb::SET_ENCODING_IDENTITY, 1000, 1000));
  EXPECT_OK(status(whole, pb::SET_ENCODING_ZSTD, 1000, 1000));
  EXPECT_THAT(status(whole, pb::SET_ENCODING_IDENTITY, 1001, 1001),
              StatusIs(kTooLarge, HasSubstr("SetAnswer.total_bytes: 1001, at most 1000")));
  EXPECT_THAT(status(whole, pb::SET_ENCODING_IDENTITY, 1000, 999),
              StatusIs(kMalformed, HasSubstr("999 of a set of 1000 from 0")));
  EXPECT_THAT(status(whole, pb::SET_ENCODING_ZSTD, 1000, 1001),
              StatusIs(kMalformed, HasSubstr("1001 of a set of 1000")));
  EXPECT_THAT(status(whole, pb::SET_ENCODING_ZSTD, 1000, 0), HasCode(kMalformed));
  EXPECT_THAT(status(whole, pb::SET_ENCODING_IDENTITY, 0, 0), HasCode(kMalformed));
  for (const int encoding : {0, 3}) {
    EXPECT_THAT(status(whole, encoding, 10, 10), StatusIs(kMalformed, HasSubstr("is no encoding")));
  }
  SetRequest plain = whole;
  plain.accept_zstd = false;
  EXPECT_THAT(status(plain, pb::SET_ENCODING_ZSTD, 1000, 10),
              StatusIs(kMalformed, HasSubstr("not asked for")));
  SetRequest rest = whole;
  rest.offset = 400;
  EXPECT_OK(status(rest, pb::SET_ENCODING_IDENTITY, 1000, 600));
  EXPECT_THAT(status(rest, pb::SET_ENCODING_IDENTITY, 1000, 1000), HasCode(kMalformed));
  EXPECT_THAT(status(rest, pb::SET_ENCODING_ZSTD, 1000, 10), HasCode(kMalformed));
  EXPECT_THAT(status(rest, pb::SET_ENCODING_IDENTITY, 400, 400), HasCode(kMalformed));
}

TEST(WireCodec, BodyOutcomesOtherThanTheThreeAreMalformed) {
  for (const uint8_t raw : {uint8_t{0}, uint8_t{4}, uint8_t{0x40}, uint8_t{255}}) {
    EXPECT_THAT(DecodeBodyOutcome(raw), HasCode(kMalformed));
  }
}

// ---- what a later version may add ---------------------------------------------------------------

TEST(WireCodec, IgnorableFramesAreSkippedAndOthersRefused) {
  for (const uint8_t type : {uint8_t{0x40}, uint8_t{0x7f}}) {
    const Frame frame{type, {}};
    EXPECT_EQ(*DecodeControl(frame), std::nullopt);
    EXPECT_EQ(*DecodeTxControl(frame), std::nullopt);
    EXPECT_EQ(*DecodeGetData(frame), std::nullopt);
    EXPECT_EQ(*DecodeSetRequest(frame), std::nullopt);
    EXPECT_EQ(*DecodeSetHeader(frame, GoodSetRequest(), 1), std::nullopt);
    EXPECT_EQ(*DecodeStateHeader(frame), std::nullopt);
  }
  for (const uint8_t type : {uint8_t{0}, uint8_t{0x3f}, uint8_t{0x80}, uint8_t{0xff}}) {
    const Frame frame{type, {}};
    EXPECT_THAT(DecodeControl(frame), StatusIs(kMalformed, HasSubstr("unknown frame type")));
    EXPECT_THAT(DecodeTxControl(frame), HasCode(kMalformed));
    EXPECT_THAT(DecodeStateHeader(frame), HasCode(kMalformed));
  }
}

TEST(WireCodec, AKnownFrameOnTheWrongStreamIsNamedAsSuch) {
  EXPECT_THAT(ControlStatus(FrameType::kInv, ""),
              StatusIs(kWrongStream, HasSubstr("0x10 on the control stream")));
  EXPECT_THAT(TxControlStatus(FrameType::kHello, ""), HasCode(kWrongStream));
  EXPECT_THAT(DecodeGetData({static_cast<uint8_t>(FrameType::kSetRequest), {}}),
              HasCode(kWrongStream));
  EXPECT_THAT(DecodeSetRequest({static_cast<uint8_t>(FrameType::kSetAnswer), {}}),
              HasCode(kWrongStream));
  EXPECT_THAT(
      DecodeSetHeader({static_cast<uint8_t>(FrameType::kSetRequest), {}}, GoodSetRequest(), 1),
      HasCode(kWrongStream));
  EXPECT_THAT(DecodeStateHeader({static_cast<uint8_t>(FrameType::kInv), {}}),
              HasCode(kWrongStream));
}

TEST(WireCodec, UnknownFieldsLanesAndEncodingsAreIgnored) {
  const std::string unknown_field = "\xfa\x07\x03xyz";  // field 127, 3 bytes
  pb::GetScpState get;
  get.set_id(9);
  const std::string body = get.SerializeAsString() + unknown_field;
  EXPECT_EQ(std::get<GetScpState>(**DecodeControl(FrameOf(FrameType::kGetScpState, body))).id, 9u);

  pb::Inv inv = InvWire(3);
  inv.set_lanes(1, static_cast<pb::Lane>(4));
  inv.set_fees_per_op(2, 777);
  const std::string inv_body = inv.SerializeAsString();
  const auto decoded = DecodeTxControl(FrameOf(FrameType::kInv, inv_body));
  ASSERT_OK(decoded);
  const Inv& got = std::get<Inv>(**decoded);
  ASSERT_EQ(got.entries.size(), 2u);
  EXPECT_EQ(got.entries[1].fee_per_op, 777u);

  pb::FeeFilter filter;
  filter.add_lanes()->set_lane(static_cast<pb::Lane>(4));
  filter.mutable_lanes(0)->set_fee_per_op_min(1);
  const std::string filter_body = filter.SerializeAsString();
  EXPECT_EQ(std::get<FeeFilter>(**DecodeTxControl(FrameOf(FrameType::kFeeFilter, filter_body))),
            FeeFilter{});

  pb::SetRequest request = Parsed<pb::SetRequest>(EncodeSetRequest(GoodSetRequest()));
  request.set_accepted(0, static_cast<pb::SetEncoding>(7));
  const std::string request_body = request.SerializeAsString();
  EXPECT_FALSE((**DecodeSetRequest(FrameOf(FrameType::kSetRequest, request_body))).accept_zstd);
}

}  // namespace
}  // namespace overlay
