// Who is admitted, and who goes for it.
#include "flood/peers/admission.h"

#include <vector>

#include "gtest/gtest.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;

constexpr Time kNow{100000s};
constexpr Applicant kStranger{Standing::kOrdinary, true, false};
constexpr Applicant kConfigured{Standing::kConfigured, true, true};
constexpr Applicant kPreferred{Standing::kPreferred, true, false};
constexpr Applicant kDialled{Standing::kOrdinary, false, false};

// `age` ago, and of `worth`.
InboundPeer Peer(uint64_t id, Standing standing, Duration age, double worth = 0,
                 bool has_delivered = false) {
  return {PeerId{id}, standing, kNow - age, has_delivered, worth};
}
InboundPeer Old(uint64_t id, double worth) { return Peer(id, Standing::kOrdinary, 1h, worth); }

std::optional<PeerId> Displaced(const PeerTargets& targets, const Applicant& applicant,
                                const std::vector<InboundPeer>& inbound) {
  const Admission admission = Admit(targets, kNow, applicant, inbound);
  EXPECT_TRUE(admission.admitted) << admission.why_not;
  return admission.displaced;
}
bool Refused(const PeerTargets& targets, const Applicant& applicant,
             const std::vector<InboundPeer>& inbound) {
  const Admission admission = Admit(targets, kNow, applicant, inbound);
  EXPECT_EQ(admission.why_not.empty(), admission.admitted);
  EXPECT_FALSE(!admission.admitted && admission.displaced);
  return !admission.admitted;
}

TEST(Admission, BelowTheLimitAllAreAdmitted) {
  const PeerTargets targets{.inbound_max = 2, .newcomers = 0};
  for (const Applicant& applicant : {kStranger, kConfigured, kPreferred, kDialled}) {
    EXPECT_FALSE(Displaced(targets, applicant, {Old(1, 0)}));
  }
}

TEST(Admission, TheLimitCountsEveryInboundPeerButBindsNoneThatWeDialled) {
  const PeerTargets targets{.inbound_max = 2, .newcomers = 0};
  const std::vector<InboundPeer> full = {Old(1, 0), Peer(2, Standing::kConfigured, 1h)};
  EXPECT_TRUE(Refused(targets, kStranger, full));
  EXPECT_FALSE(Displaced(targets, kDialled, full));
}

TEST(Admission, AConfiguredOneDisplacesTheOrdinaryOneOfLeastWorth) {
  const PeerTargets targets{.inbound_max = 4, .newcomers = 1};
  const std::vector<InboundPeer> full = {Old(1, 3), Old(2, 1), Old(3, 2),
                                         Peer(4, Standing::kConfigured, 1h, -9)};
  EXPECT_EQ(Displaced(targets, kConfigured, full), PeerId{2});
  EXPECT_EQ(Displaced(targets, kPreferred, full), PeerId{2});
}

TEST(Admission, OnlyAPreferredOneDisplacesAConfiguredOne) {
  const PeerTargets targets{.inbound_max = 3, .newcomers = 1};
  const std::vector<InboundPeer> full = {Peer(1, Standing::kConfigured, 1h, 5),
                                         Peer(2, Standing::kConfigured, 1h, 4),
                                         Peer(3, Standing::kPreferred, 1h, -9)};
  EXPECT_TRUE(Refused(targets, kConfigured, full));
  EXPECT_TRUE(Refused(targets, kStranger, full));
  EXPECT_EQ(Displaced(targets, kPreferred, full), PeerId{2});
}

TEST(Admission, APreferredOneComesInAboveTheLimit) {
  const PeerTargets targets{.inbound_max = 1, .newcomers = 1};
  const std::vector<InboundPeer> full = {Peer(1, Standing::kPreferred, 1h),
                                         Peer(2, Standing::kPreferred, 1h)};
  EXPECT_FALSE(Displaced(targets, kPreferred, full));
  EXPECT_TRUE(Refused(targets, kConfigured, full));
}

TEST(Admission, ANewcomerTakesThePlaceOfTheLeastOfThoseWhoStayed) {
  const PeerTargets targets{.inbound_max = 3, .newcomers = 2};
  const InboundPeer newcomer = Peer(3, Standing::kOrdinary, 1min);
  EXPECT_EQ(Displaced(targets, kStranger, {Old(1, 2), Old(2, 1), newcomer}), PeerId{2});
}

TEST(Admission, ANewcomerIsOneForTenMinutes) {
  const PeerTargets targets{.inbound_max = 2, .newcomers = 1};
  const std::vector<InboundPeer> at_ten = {Peer(1, Standing::kOrdinary, kNewcomerFor, 5, true),
                                           Old(2, 9)};
  EXPECT_TRUE(Refused(targets, kStranger, at_ten));  // the newcomers' place is held by one
  const std::vector<InboundPeer> after = {Peer(1, Standing::kOrdinary, kNewcomerFor + 1ns, 5, true),
                                          Old(2, 9)};
  EXPECT_EQ(Displaced(targets, kStranger, after), PeerId{1});
}

TEST(Admission, AmongNewcomersTheOldestThatDidNothingGoes) {
  const PeerTargets targets{.inbound_max = 4, .newcomers = 3};
  const std::vector<InboundPeer> full = {Old(1, -50), Peer(2, Standing::kOrdinary, 9min, 0, true),
                                         Peer(3, Standing::kOrdinary, 1min),
                                         Peer(4, Standing::kOrdinary, 2min)};
  EXPECT_EQ(Displaced(targets, kStranger, full), PeerId{4});
}

TEST(Admission, NewcomersThatDeliveredAreNotDisplacedByOthers) {
  const PeerTargets targets{.inbound_max = 2, .newcomers = 2};
  const std::vector<InboundPeer> full = {Peer(1, Standing::kOrdinary, 1min, 0, true),
                                         Peer(2, Standing::kOrdinary, 2min, 0, true)};
  EXPECT_TRUE(Refused(targets, kStranger, full));
}

TEST(Admission, WithoutPlacesForNewcomersNobodyGoesForThem) {
  const PeerTargets targets{.inbound_max = 2, .newcomers = 0};
  EXPECT_TRUE(Refused(targets, kStranger, {Old(1, 0), Peer(2, Standing::kOrdinary, 1min)}));
}

TEST(Admission, AClosedNetworkAdmitsPinnedKeysAlone) {
  const PeerTargets targets{.inbound_max = 10, .newcomers = 1, .closed = true};
  for (const Applicant& applicant : {kStranger, kPreferred, kDialled}) {
    EXPECT_TRUE(Refused(targets, applicant, {}));
  }
  EXPECT_FALSE(Displaced(targets, kConfigured, {}));
  EXPECT_FALSE(Displaced(targets, {Standing::kConfigured, false, true}, {}));
}

}  // namespace
}  // namespace overlay::flood
