// tests/flood/peers/dial_plan_fixture.h
//
// A dial plan, and what happens to it, in virtual time: Configure(...), then Dialled() and Asked()
// are what it did.
#ifndef OVERLAY_TESTS_FLOOD_PEERS_DIAL_PLAN_FIXTURE_H_
#define OVERLAY_TESTS_FLOOD_PEERS_DIAL_PLAN_FIXTURE_H_

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "flood/peers/dial_plan.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/actions.h"

namespace overlay::flood::dial_plan_test {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

inline NodeKey Key(uint8_t n) {
  NodeKey key;
  key.bytes[0] = n;
  return key;
}

inline PeerEntry Entry(const std::string& host, std::optional<uint16_t> port = std::nullopt,
                       std::optional<NodeKey> pinned = std::nullopt) {
  return {.text = host, .host = host, .port = port, .pinned_key = pinned, .preferred = false};
}

class DialPlanTest : public testing::Test {
 protected:
  ~DialPlanTest() override { plan_.CheckInvariants(); }

  // With the entry's port or without one: then services are asked for, too.
  void Resolve(const std::string& host, const std::vector<std::string>& addresses,
               bool services = false, Duration ttl = 10min) {
    plan_.OnDeadline(now_, out_);  // asks
    ResolvedHost resolved{{}, ttl};
    for (const std::string& address : addresses) {
      resolved.addresses.push_back(SocketAddress::Parse(address).value());
    }
    plan_.OnResolved(now_, {host, services}, resolved, out_);
  }
  // Names asked for by now, since the last call of this or of Dialled().
  std::vector<std::string> Asked() {
    plan_.OnDeadline(now_, out_);
    std::vector<std::string> hosts;
    for (const Action& action : out_) {
      const auto* resolve = std::get_if<ResolveHost>(&action);
      if (resolve != nullptr) hosts.push_back(resolve->host);
    }
    std::erase_if(out_, [](const Action& a) { return std::holds_alternative<ResolveHost>(a); });
    return hosts;
  }
  std::vector<std::string> Configure(std::vector<PeerEntry> entries,
                                     bool disconnect_removed = false,
                                     PeerEntrySource source = PeerEntrySource::kFile) {
    plan_.Configure(now_, {source, std::move(entries), disconnect_removed}, out_);
    const auto answers = Outputs<PeersConfigured>(out_);
    EXPECT_EQ(answers.size(), 1u);
    applied_ = !answers.empty() && answers[0].applied;
    std::erase_if(out_, [](const Action& a) { return std::holds_alternative<CoreOutput>(a); });
    return answers.empty() ? std::vector<std::string>{} : answers[0].refusals;
  }
  // Addresses dialled since the last call.
  std::vector<std::string> Dialled() {
    plan_.OnDeadline(now_, out_);
    plan_.CheckInvariants();
    std::vector<std::string> addresses;
    for (const Dial& dial : Commands<Dial>(out_)) {
      addresses.push_back(dial.address.ToString());
      last_dial_[dial.address.ToString()] = dial;
    }
    out_.clear();
    return addresses;
  }
  void End(const std::string& address, CloseReason reason,
           std::optional<NodeKey> key = std::nullopt) {
    const Dial& dial = last_dial_.at(address);
    plan_.OnDialEnded(now_, {dial.dial, dial.address, reason, key, ""});
  }
  PeerInfo Info(const std::string& address, NodeKey key, bool inbound = false,
                uint16_t listen = 0) {
    PeerInfo info;
    info.key = key;
    info.address = SocketAddress::Parse(address).value();
    info.inbound = inbound;
    info.listen_port = listen;
    return info;
  }
  void Connected(const std::string& address, NodeKey key) {
    plan_.OnPeerConnected(now_, Info(address, key));
    End(address, CloseReason::kNone, key);
  }
  // Moves to the plan's next deadline and returns what was dialled there.
  std::vector<std::string> Next() {
    const auto deadline = plan_.NextDeadline();
    EXPECT_TRUE(deadline.has_value());
    now_ = std::max(now_, deadline.value_or(now_));
    return Dialled();
  }
  // What is dialled next, whenever that is: sweeps come between.
  std::vector<std::string> NextDialled() {
    for (int deadline = 0; deadline < 100; ++deadline) {
      std::vector<std::string> dialled = Next();
      if (!dialled.empty()) return dialled;
    }
    ADD_FAILURE() << "nothing is dialled any more";
    return {};
  }

  OperatorAnswered::Outcome Connect(const PeerEntry& entry) {
    plan_.Connect(now_, {entry}, out_);
    const auto answers = Outputs<OperatorAnswered>(out_);
    EXPECT_EQ(answers.size(), 1u);
    std::erase_if(out_, [](const Action& a) { return std::holds_alternative<CoreOutput>(a); });
    return answers.at(0).outcome;
  }
  void Disconnected(const std::string& address, NodeKey key,
                    CloseReason reason = CloseReason::kNone) {
    PeerDisconnected gone;
    gone.reason = reason;
    plan_.OnPeerDisconnected(now_, Info(address, key), gone);
  }

  bool applied_ = false;
  Limits limits_;
  NodeStats stats_;
  BanList bans_;
  DialPlan plan_{limits_, Key(99), 11625, Random(7), bans_, stats_};
  ActionList out_;
  std::map<std::string, Dial> last_dial_;
  Time now_{1000s};
};

}  // namespace overlay::flood::dial_plan_test

#endif  // OVERLAY_TESTS_FLOOD_PEERS_DIAL_PLAN_FIXTURE_H_
