// The peer file: what is written is read again, and nothing else is.
#include "flood/peers/peer_file.h"

#include <string>

#include "flood/base/crypto.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace overlay::flood {
namespace {

using absl::StatusCode;
using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr Time kNow{100000s};
constexpr int64_t kWallSeconds = 1'790'000'000;
constexpr WallTime kWall{kWallSeconds * 1'000'000};

NodeKey Key(uint8_t n) {
  NodeKey key;
  key.bytes[0] = n;
  return key;
}

PeerBook TwoPeers() {
  PeerBook book;
  KnownPeer& first = book.Add(kNow - 100s, Key(1));
  first.connected_total = 3;
  first.lost_reason = CloseReason::kStalled;
  first.rtt.Add(kNow, 0.0205);
  first.bytes_sent.Add(kNow, 1000);
  first.bytes_received.Add(kNow, 2000);
  first.first_envelopes.Add(kNow, 30);
  first.first_transactions.Add(kNow, 40);
  first.fetches_ok.Add(kNow, 5);
  first.fetches_failed.Add(kNow, 6);
  book.Learn(Key(1), {*SocketAddress::Parse("10.0.0.1:11625"), AddressSource::kFile, kNow - 9s});
  book.Learn(Key(1), {*SocketAddress::Parse("[::1]:5"), AddressSource::kListens, std::nullopt});
  book.Add(kNow, Key(2));
  return book;
}

BanList TwoBans() {
  BanList bans;
  bans.Add(kNow, Key(3), {BannedBy::kOperator, kNow - 60s, kTimeNever, "floods us"});
  bans.Add(kNow, Key(4), {BannedBy::kScore, kNow - 60s, kNow + 9500ms, ""});
  return bans;
}

// The text with its last line made again.
std::string Signed(std::string text) {
  text.resize(text.find("sha256 "));
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  return text + "sha256 " + HexEncode(Sha256({bytes, text.size()})) + "\n";
}
std::string Replaced(std::string text, const std::string& what, const std::string& with) {
  const size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  return Signed(text.replace(at, what.size(), with));
}
std::string Sound() { return EncodePeerFile(ToPeerFile(TwoPeers(), TwoBans(), kNow, kWall)); }

TEST(PeerFile, IsTextForPeople) {
  const std::string text = Sound();
  EXPECT_EQ(text.substr(0, text.find("sha256")),
            "overlay peers 2\n"
            "saved 1790000000\n"
            "peer " +
                ToStrkey(Key(1)) +
                " seen=1789999900 connections=3 lost=48 rtt_us=20500 sent=1000 received=2000 "
                "envelopes=30 transactions=40 fetched=5 failed=6 "
                "at=10.0.0.1:11625,file,1789999991 at=[::1]:5,listens,0\n"
                "peer " +
                ToStrkey(Key(2)) +
                " seen=1790000000 connections=0 lost=0 rtt_us=0 sent=0 received=0 envelopes=0 "
                "transactions=0 fetched=0 failed=0\n"
                "ban " +
                ToStrkey(Key(3)) +
                " by=operator since=1789999940 until=0 reason=floods us\n"
                "ban " +
                ToStrkey(Key(4)) + " by=score since=1789999940 until=1790000010 reason=\n");
}

TEST(PeerFile, WhatIsEncodedIsDecoded) {
  const PeerFile file = ToPeerFile(TwoPeers(), TwoBans(), kNow, kWall);
  const auto decoded = DecodePeerFile(EncodePeerFile(file));
  ASSERT_OK(decoded);
  EXPECT_EQ(*decoded, file);
  const auto empty = DecodePeerFile(EncodePeerFile({}));
  ASSERT_OK(empty);
  EXPECT_EQ(*empty, PeerFile{});
}

// The next process has another clock, and starts an hour later.
TEST(PeerFile, TheBookIsTheSameInAnotherProcess) {
  const PeerFile file = ToPeerFile(TwoPeers(), TwoBans(), kNow, kWall);
  const Time now{5s};
  PeerBook book;
  BanList bans;
  AddPeerFile(file, now, {(kWallSeconds + 3600) * 1'000'000}, book, bans);
  ASSERT_EQ(book.peers().size(), 2u);
  const KnownPeer& first = *book.Find(Key(1));
  EXPECT_EQ(first.state, PeerState::kLost);
  EXPECT_EQ(first.last_seen, now - 1h - 100s);
  EXPECT_EQ(first.connected_total, 3u);
  EXPECT_EQ(first.lost_reason, CloseReason::kStalled);
  EXPECT_NEAR(first.rtt.At(now).value(), 0.0205, 1e-9);
  EXPECT_NEAR(first.first_envelopes.At(now - 1h), 30, 1e-6);
  EXPECT_NEAR(first.first_envelopes.At(now - 1h + kBookHalfLife), 15, 1e-6);
  EXPECT_NEAR(first.fetches_failed.At(now - 1h), 6, 1e-6);
  ASSERT_EQ(first.addresses.size(), 2u);
  EXPECT_EQ(first.addresses[0].last_success, now - 1h - 9s);
  EXPECT_EQ(first.addresses[1].source, AddressSource::kListens);
  EXPECT_FALSE(first.addresses[1].last_success);
  EXPECT_FALSE(book.Find(Key(2))->lost_reason);
  EXPECT_FALSE(book.Find(Key(2))->rtt.At(now));
  book.CheckInvariants();
}

// The end of a ban is one of the wall clock: it goes on while no process runs.
TEST(PeerFile, BansGoOnInAnotherProcess) {
  const PeerFile file = ToPeerFile(TwoPeers(), TwoBans(), kNow, kWall);
  const Time now{5s};
  PeerBook book;
  BanList bans;
  AddPeerFile(file, now, {(kWallSeconds + 9) * 1'000'000}, book, bans);
  ASSERT_EQ(bans.bans().size(), 2u);
  const Ban& first = bans.bans().at(Key(3));
  EXPECT_EQ(first.by, BannedBy::kOperator);
  EXPECT_EQ(first.since, now - 69s);
  EXPECT_EQ(first.until, kTimeNever);
  EXPECT_EQ(first.reason, "floods us");
  EXPECT_EQ(bans.bans().at(Key(4)).by, BannedBy::kScore);
  EXPECT_EQ(bans.bans().at(Key(4)).until, now + 1s);
  BanList later;
  AddPeerFile(file, now, {(kWallSeconds + 10) * 1'000'000}, book, later);
  EXPECT_FALSE(later.Contains(now, Key(4)));
  EXPECT_TRUE(later.Contains(now, Key(3)));
  // One that is over is not written.
  EXPECT_EQ(ToPeerFile(TwoPeers(), TwoBans(), kNow + 10s, kWall).bans.size(), 1u);
}

TEST(PeerFile, WhatIsKnownAlreadyIsLeftAlone) {
  PeerBook book;
  BanList bans;
  book.Add(kNow, Key(1)).connected_total = 77;
  AddPeerFile(ToPeerFile(TwoPeers(), TwoBans(), kNow, kWall), kNow, kWall, book, bans);
  EXPECT_EQ(book.Find(Key(1))->connected_total, 77u);
  EXPECT_NE(book.Find(Key(2)), nullptr);
}

TEST(PeerFile, AClockThatWasSetBackMakesTimesNow) {
  const PeerFile file = ToPeerFile(TwoPeers(), TwoBans(), kNow, kWall);
  PeerBook book;
  BanList bans;
  AddPeerFile(file, kNow, {1'000'000}, book, bans);
  EXPECT_EQ(book.Find(Key(1))->last_seen, kNow);
  EXPECT_NEAR(book.Find(Key(1))->first_envelopes.At(kNow), 30, 1e-6);
  // And one that was never set, when the file is made.
  EXPECT_EQ(ToPeerFile(TwoPeers(), TwoBans(), kNow, {0}).peers[0].last_seen_s, 0);
  EXPECT_OK(DecodePeerFile(EncodePeerFile(ToPeerFile(TwoPeers(), TwoBans(), kNow, {-5'000'000}))));
}

TEST(PeerFile, AgesBeyondAllMeasureAreBounded) {
  PeerFile file = ToPeerFile(TwoPeers(), TwoBans(), kNow, kWall);
  file.saved_s = file.peers[0].last_seen_s = 0;
  PeerBook book;
  BanList bans;
  AddPeerFile(file, kNow, {INT64_MAX}, book, bans);
  EXPECT_EQ(book.Find(Key(1))->last_seen, kNow - 24h * 3650);
  EXPECT_GE(book.Find(Key(1))->Worth(kNow), -40);
}

TEST(PeerFile, EveryCutIsRefused) {
  const std::string text = Sound();
  for (size_t bytes = 0; bytes < text.size(); ++bytes) {
    ASSERT_THAT(DecodePeerFile(text.substr(0, bytes)), HasCode(StatusCode::kInvalidArgument))
        << bytes;
  }
  EXPECT_THAT(DecodePeerFile(text + "\n"), HasCode(StatusCode::kInvalidArgument));
}

TEST(PeerFile, EveryFlippedBitIsRefused) {
  const std::string text = Sound();
  for (size_t i = 0; i < text.size(); ++i) {
    std::string spoilt = text;
    spoilt[i] = static_cast<char>(spoilt[i] ^ 1);
    ASSERT_THAT(DecodePeerFile(spoilt), HasCode(StatusCode::kInvalidArgument)) << i;
  }
}

TEST(PeerFile, TheLineAtFaultIsNamed) {
  const std::string text = Sound();
  const std::string line1 = "peer " + ToStrkey(Key(1));
  const std::string line2 = "peer " + ToStrkey(Key(2));
  const std::string ban1 = "ban " + ToStrkey(Key(3));
  const std::string ban2 = "ban " + ToStrkey(Key(4));
  const struct {
    std::string text;
    std::string expected;
  } cases[] = {
      {Replaced(text, "overlay peers 2", "overlay peers 1"), "line 1: version \"1\", expected 2"},
      {Replaced(text, "overlay peers 2", "overlay friends"), "line 1: not a peer file"},
      {Replaced(text, "saved 1790000000", "saved -1"), "line 2: expected saved SECONDS"},
      {Replaced(text, "saved 1790000000", "saved 01"), "line 2: expected saved SECONDS"},
      {Replaced(text, "seen=1789999900", "seen=1099511627777"), "line 3: expected seen=SECONDS"},
      {Replaced(text, " lost=48", " lost=65536"), "line 3: expected lost=NUMBER"},
      {Replaced(text, " lost=48", ""), "line 3: expected lost=NUMBER"},
      {Replaced(text, "connections=3", "connections=4294967296"), "line 3: expected connections="},
      {Replaced(text, "sent=1000", "sent=9007199254740993"), "line 3: expected sent=NUMBER"},
      {Replaced(text, "sent=1000", "sent=1e3"), "line 3: expected sent=NUMBER"},
      {Replaced(text, ",file,", ",guessed,"), "line 3: expected at=ADDRESS"},
      {Replaced(text, "10.0.0.1:11625", "10.0.0.1:0"), "line 3: expected at=ADDRESS"},
      {Replaced(text, "10.0.0.1:11625", "010.0.0.1:11625"), "line 3: expected at=ADDRESS"},
      {Replaced(text, "[::1]:5", "10.0.0.1:11625"), "line 3: an address twice"},
      {Replaced(text, line2, line1), "line 4: a key twice, or out of order"},
      {Replaced(text, line2, "peer GABC"), "line 4: expected a key"},
      {Replaced(text, line2, "friend x"), "line 4: expected a whole peer"},
      {Replaced(text, ban2, ban1), "line 6: a key twice, or out of order"},
      {Replaced(text, ban2, "ban GABC"), "line 6: expected a key"},
      {Replaced(text, ban2, line2), "line 6: expected a whole ban"},
      {Replaced(text, "by=operator", "by=nobody"), "line 5: expected by=operator or by=score"},
      {Replaced(text, "since=1789999940", "since=x"), "line 5: expected since=SECONDS"},
      {Replaced(text, "until=1790000010", "until=-1"), "line 6: expected until=SECONDS"},
      {Replaced(text, "floods us", "floods\tus"), "line 5: expected reason=TEXT"},
      {Replaced(text, "floods us", std::string(101, 'x')), "line 5: expected reason=TEXT"},
      {Replaced(text, "sha256", "\nsha256"), "line 7: expected a whole ban"},
      {text.substr(0, text.find("sha256")), "line 7: the end is missing"},
  };
  for (const auto& each : cases) {
    EXPECT_THAT(DecodePeerFile(each.text),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(each.expected)));
  }
}

TEST(PeerFile, NoMoreAddressesAndPeersThanTheBookHolds) {
  PeerFile file;
  file.peers.resize(1);
  for (uint16_t port = 1; port <= kBookAddressesMax; ++port) {
    file.peers[0].addresses.push_back({SocketAddress::Loopback(port), AddressSource::kFile, 0});
  }
  EXPECT_OK(DecodePeerFile(EncodePeerFile(file)));
  file.peers[0].addresses.push_back({SocketAddress::Loopback(99), AddressSource::kFile, 0});
  EXPECT_THAT(DecodePeerFile(EncodePeerFile(file)),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("line 3: too many addresses")));
  file.peers.clear();
  for (size_t i = 0; i <= kBookPeersMax; ++i) {
    file.peers.emplace_back().key.bytes = {static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)};
  }
  EXPECT_THAT(DecodePeerFile(EncodePeerFile(file)),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("line 1003: too many of its kind")));
  file.peers.pop_back();
  EXPECT_OK(DecodePeerFile(EncodePeerFile(file)));
  file.peers.clear();
  for (size_t i = 0; i <= kBansMax; ++i) {
    file.bans.emplace_back().key.bytes = {static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)};
  }
  EXPECT_THAT(DecodePeerFile(EncodePeerFile(file)),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("line 1003: too many of its kind")));
  file.bans.pop_back();
  EXPECT_OK(DecodePeerFile(EncodePeerFile(file)));
}

}  // namespace
}  // namespace overlay::flood
