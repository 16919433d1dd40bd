// What operators are told of peers.
#include "server/operator_report.h"

#include "flood/base/crypto.h"
#include "gtest/gtest.h"

namespace overlay::server {
namespace {

using namespace std::chrono_literals;

constexpr Time kNow{1000s};

flood::PeerView View(flood::PeerView::State state, std::optional<uint8_t> key) {
  flood::PeerView view;
  view.state = state;
  if (key) view.key.emplace().bytes[0] = *key;
  return view;
}

TEST(OperatorReport, ConnectedPeersHaveScoreCoreAndTraffic) {
  flood::PeerView view = View(flood::PeerView::State::kConnected, 7);
  view.peer = PeerId{3};
  view.configured = "host:1";
  view.preferred = true;
  view.score = 12.5;
  view.core_present = true;
  view.last_reason = CloseReason::kStalled;
  transport::PeerStats stats;
  stats.peer = PeerId{3};
  stats.info.key = *view.key;
  stats.info.address = SocketAddress::V4(0x0a000001, 11625);
  stats.info.agent = "overlayd/test";
  stats.age = 5s;
  stats.connection.smoothed_rtt = 250us;
  stats.connection.sent_bytes = 1000;
  stats.connection.received_bytes = 2000;
  stats.sent[0] = {300, 2};
  stats.queued_count[3] = 4;
  transport::PeerStats stranger;  // that the node has not admitted: not listed
  stranger.peer = PeerId{4};
  const auto details = ToDetails(kNow, {view}, {stranger, stats});
  ASSERT_EQ(details.size(), 1u);
  const v1::PeerDetail& detail = details[0];
  EXPECT_EQ(detail.state(), v1::PeerDetail::STATE_CONNECTED);
  EXPECT_EQ(detail.peer_strkey(), ToStrkey(*view.key));
  EXPECT_EQ(detail.address(), "10.0.0.1:11625");
  EXPECT_EQ(detail.configured(), "host:1");
  EXPECT_TRUE(detail.preferred());
  EXPECT_EQ(detail.direction(), v1::DIRECTION_OUTBOUND);
  EXPECT_EQ(detail.agent(), "overlayd/test");
  EXPECT_EQ(detail.connected_ms(), 5000u);
  EXPECT_EQ(detail.rtt_us(), 250u);
  EXPECT_TRUE(detail.core_present());
  EXPECT_EQ(detail.score(), 12.5);
  EXPECT_EQ(detail.bytes_sent(), 1000u);
  EXPECT_EQ(detail.bytes_received(), 2000u);
  ASSERT_EQ(detail.classes_size(), 4);
  EXPECT_EQ(detail.classes(0).bytes_sent(), 300u);
  EXPECT_EQ(detail.classes(3).queued_messages(), 4u);
  EXPECT_FALSE(detail.has_next_dial_ms());
  EXPECT_EQ(detail.last_reason(), "stalled");
}

TEST(OperatorReport, ThoseNotConnectedSayWhatComesNextAndWhatWas) {
  flood::PeerView waiting = View(flood::PeerView::State::kWaiting, 9);
  waiting.address = SocketAddress::V4(0x0a000002, 5);
  waiting.next_try = kNow + 1500ms;
  waiting.failures = 3;
  waiting.last_reason = CloseReason::kHandshakeTimeout;
  flood::PeerView lost = View(flood::PeerView::State::kWaiting, std::nullopt);
  lost.configured = "lost";
  lost.next_try = kNow - 1ms;  // due
  lost.failures = 1;
  lost.not_resolved = true;
  flood::PeerView resolving = View(flood::PeerView::State::kResolving, std::nullopt);
  resolving.configured = "a-name";
  const flood::PeerView dialling = View(flood::PeerView::State::kDialling, 1);
  const auto details = ToDetails(kNow, {lost, waiting, resolving, dialling}, {});
  ASSERT_EQ(details.size(), 4u);  // by key, those without one last
  EXPECT_EQ(details[0].state(), v1::PeerDetail::STATE_DIALLING);
  EXPECT_EQ(details[1].state(), v1::PeerDetail::STATE_WAITING);
  EXPECT_EQ(details[1].address(), "10.0.0.2:5");
  EXPECT_EQ(details[1].next_dial_ms(), 1500u);
  EXPECT_EQ(details[1].dials_failed(), 3u);
  EXPECT_EQ(details[1].last_reason(), "handshake_timeout");
  EXPECT_EQ(details[2].state(), v1::PeerDetail::STATE_RESOLVING);
  EXPECT_EQ(details[2].configured(), "a-name");
  EXPECT_TRUE(details[2].address().empty() && details[2].peer_strkey().empty());
  EXPECT_EQ(details[3].configured(), "lost");
  EXPECT_EQ(details[3].last_reason(), "not_resolved");
  EXPECT_EQ(details[3].next_dial_ms(), 0u);
}

TEST(OperatorReport, BansThatHoldAreListed) {
  const auto key = [](uint8_t n) {
    NodeKey key;
    key.bytes[0] = n;
    return key;
  };
  flood::BanList bans;
  bans.Add(kNow - 9s, key(1), {flood::BannedBy::kScore, kNow - 9s, kNow + 1500ms, "wrong_hash"});
  bans.Add(kNow - 9s, key(2), {flood::BannedBy::kOperator, kNow - 9s, kTimeNever, ""});
  bans.Add(kNow - 9s, key(3), {flood::BannedBy::kOperator, kNow - 9s, kNow, "over"});
  const std::vector<v1::BanDetail> details = ToDetails(kNow, bans);
  ASSERT_EQ(details.size(), 2u);
  EXPECT_EQ(details[0].peer(), ToStrkey(key(1)));
  EXPECT_EQ(details[0].by(), v1::BanDetail::BY_SCORE);
  EXPECT_EQ(details[0].since_ms(), 9000u);
  EXPECT_EQ(details[0].left_ms(), 1500u);
  EXPECT_EQ(details[0].reason(), "wrong_hash");
  EXPECT_EQ(details[1].by(), v1::BanDetail::BY_OPERATOR);
  EXPECT_FALSE(details[1].has_left_ms());
}

TEST(OperatorReport, TheBookHasAddressesAndFigures) {
  flood::PeerView view = View(flood::PeerView::State::kLost, 7);
  flood::KnownPeer& known = view.known.emplace();
  known.addresses = {{SocketAddress::V4(0x0a000002, 5), flood::AddressSource::kFile, kNow - 2s},
                     {SocketAddress::V4(0x0a000003, 6), flood::AddressSource::kListens, {}}};
  known.last_seen = kNow - 3s;
  known.connected_total = 4;
  known.lost_reason = CloseReason::kStalled;
  known.rtt.Add(kNow, 0.0205);
  known.bytes_sent.Add(kNow, 1);
  known.bytes_received.Add(kNow, 2);
  known.first_envelopes.Add(kNow, 3);
  known.first_transactions.Add(kNow, 4);
  known.fetches_ok.Add(kNow, 5);
  known.fetches_failed.Add(kNow, 6);
  flood::PeerView here = View(flood::PeerView::State::kConnected, 8);
  here.known.emplace().state = flood::PeerState::kConnected;
  const flood::PeerView never = View(flood::PeerView::State::kWaiting, 9);
  const auto details = ToDetails(kNow, {view, here, never}, {});
  ASSERT_EQ(details.size(), 3u);
  EXPECT_EQ(details[0].state(), v1::PeerDetail::STATE_LOST);
  const v1::PeerRecord& record = details[0].record();
  ASSERT_EQ(record.addresses_size(), 2);
  EXPECT_EQ(record.addresses(0).address(), "10.0.0.2:5");
  EXPECT_EQ(record.addresses(0).source(), v1::KnownAddress::SOURCE_FILE);
  EXPECT_EQ(record.addresses(0).last_success_ms(), 2000u);
  EXPECT_EQ(record.addresses(1).source(), v1::KnownAddress::SOURCE_LISTENS);
  EXPECT_FALSE(record.addresses(1).has_last_success_ms());
  EXPECT_EQ(record.last_seen_ms(), 3000u);
  EXPECT_EQ(record.connected_total(), 4u);
  EXPECT_EQ(record.lost_reason(), "stalled");
  EXPECT_EQ(record.rtt_us(), 20500u);
  EXPECT_EQ(record.bytes_sent(), 1);
  EXPECT_EQ(record.bytes_received(), 2);
  EXPECT_EQ(record.first_envelopes(), 3);
  EXPECT_EQ(record.first_transactions(), 4);
  EXPECT_EQ(record.fetches_ok(), 5);
  EXPECT_EQ(record.fetches_failed(), 6);
  EXPECT_DOUBLE_EQ(record.worth(), known.Worth(kNow));
  EXPECT_FALSE(details[1].record().has_last_seen_ms());
  EXPECT_FALSE(details[1].record().has_rtt_us());
  EXPECT_FALSE(details[2].has_record());
}

TEST(OperatorReport, NamesSayWhatTheyGaveAndWhenTheyAreAskedAgain) {
  flood::NameView asking;
  asking.host = "asking.example";
  flood::NameView ok;
  ok.host = "ok.example";
  ok.services = true;
  ok.state = flood::NameView::State::kOk;
  ok.addresses = {*SocketAddress::Parse("192.0.2.1:9"), *SocketAddress::ParseIp("2001:db8::1", 0)};
  ok.ttl = std::chrono::seconds(60);
  ok.next_try = kNow + std::chrono::seconds(61);
  flood::NameView failed;
  failed.host = "failed.example";
  failed.state = flood::NameView::State::kFailed;
  failed.error = "no such name";
  failed.failures = 3;
  failed.next_try = kNow;
  const auto details = ToDetails(kNow, {asking, ok, failed});
  ASSERT_EQ(details.size(), 3u);
  EXPECT_EQ(details[0].state(), v1::NameDetail::STATE_ASKING);
  EXPECT_FALSE(details[0].has_next_try_ms() || details[0].has_ttl_ms() || details[0].services());
  EXPECT_EQ(details[1].state(), v1::NameDetail::STATE_OK);
  EXPECT_TRUE(details[1].services());
  ASSERT_EQ(details[1].addresses_size(), 2);
  EXPECT_EQ(details[1].addresses(0), "192.0.2.1:9");
  EXPECT_EQ(details[1].addresses(1), "2001:db8::1");
  EXPECT_EQ(details[1].ttl_ms(), 60'000u);
  EXPECT_EQ(details[1].next_try_ms(), 61'000u);
  EXPECT_EQ(details[2].state(), v1::NameDetail::STATE_FAILED);
  EXPECT_EQ(details[2].error(), "no such name");
  EXPECT_EQ(details[2].failures(), 3u);
  EXPECT_TRUE(details[2].has_next_try_ms());
}

}  // namespace
}  // namespace overlay::server
