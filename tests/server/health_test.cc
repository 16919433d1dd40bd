#include "server/health.h"

#include "gtest/gtest.h"

namespace overlay::server {
namespace {

constexpr HealthFacts kWell = {
    .started = true, .draining = false, .core_attached = true, .peers_connected = 1};

TEST(Health, ReadyNeedsEachOfTheFour) {
  const HealthNeeds needs;
  EXPECT_TRUE(IsReady(needs, kWell));
  HealthFacts facts = kWell;
  facts.started = false;
  EXPECT_FALSE(IsReady(needs, facts));
  facts = kWell;
  facts.draining = true;
  EXPECT_FALSE(IsReady(needs, facts));
  facts = kWell;
  facts.core_attached = false;
  EXPECT_FALSE(IsReady(needs, facts));
  facts = kWell;
  facts.peers_connected = 0;
  EXPECT_FALSE(IsReady(needs, facts));
}

TEST(Health, WhatIsNeededIsTheOperatorsToSay) {
  HealthFacts facts = kWell;
  facts.core_attached = false;
  EXPECT_TRUE(IsReady({.core = false, .peers_min = 1}, facts));
  facts.peers_connected = 0;
  EXPECT_TRUE(IsReady({.core = false, .peers_min = 0}, facts));
  facts.peers_connected = 2;
  EXPECT_FALSE(IsReady({.core = false, .peers_min = 3}, facts));
}

// The list of checks and the verdict must never differ.
TEST(Health, ChecksAgreeWithTheVerdict) {
  for (int bits = 0; bits < 64; ++bits) {
    const HealthNeeds needs = {.core = (bits & 1) != 0, .peers_min = (bits & 2) != 0 ? 3u : 0u};
    const HealthFacts facts = {.started = (bits & 4) != 0,
                               .draining = (bits & 8) != 0,
                               .core_attached = (bits & 16) != 0,
                               .peers_connected = (bits & 32) != 0 ? 3u : 2u};
    EXPECT_EQ(WhyNotReady(CheckHealth(needs, facts)).empty(), IsReady(needs, facts)) << bits;
  }
}

TEST(Health, TheTextNamesWhatIsMissingAndTheSetting) {
  HealthFacts facts = kWell;
  facts.core_attached = false;
  facts.peers_connected = 2;
  const auto checks = CheckHealth({.core = true, .peers_min = 3}, facts);
  EXPECT_EQ(HealthText(checks, "not ready"),
            "[+]started ok: all listeners are open\n"
            "[+]drain ok: none\n"
            "[-]core failed: none, ready.core is true\n"
            "[-]peers failed: 2 connected, ready.peers_min is 3\n"
            "not ready\n");
  EXPECT_EQ(WhyNotReady(checks),
            "core: none, ready.core is true; peers: 2 connected, ready.peers_min is 3");
}

}  // namespace
}  // namespace overlay::server
