#include "flood/peers/peer_score.h"

#include "gtest/gtest.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;

constexpr Time kNow{1000s};

// How many of these at one moment close a stranger.
int CountToLimit(Offence offence) {
  PeerScore score;
  int count = 1;
  while (!score.Add(kNow, offence)) ++count;
  return count;
}

TEST(PeerScore, AccidentsAreForgivenManyTimesAndIntentIsNot) {
  // A late answer, a burst of questions.
  for (Offence accident : {Offence::kUnsolicited, Offence::kOverEager}) {
    EXPECT_GE(CountToLimit(accident), 20) << OffenceName(accident);
  }
  for (Offence intent : {Offence::kWrongHash, Offence::kInvalidEnvelope, Offence::kOversizeEnvelope,
                         Offence::kMalformedPayload}) {
    EXPECT_LE(CountToLimit(intent), 5) << OffenceName(intent);
  }
}

TEST(PeerScore, OneBreachADayNeverAddsUp) {
  PeerScore score;
  for (int day = 0; day < 1000; ++day) {
    EXPECT_FALSE(score.Add(kNow + day * 24h, Offence::kWrongHash)) << day;
  }
}

}  // namespace
}  // namespace overlay::flood
