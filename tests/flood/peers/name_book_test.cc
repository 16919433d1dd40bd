#include "flood/peers/name_book.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

class NameBookTest : public testing::Test {
 protected:
  ~NameBookTest() override { book_.CheckInvariants(); }

  void Keep(const std::vector<std::string>& hosts) {
    absl::btree_set<NameId> names;
    for (const std::string& host : hosts) names.insert({host, false});
    book_.Keep(now_, names);
  }
  // Hosts asked for by now.
  std::vector<std::string> Asked() {
    ActionList out;
    book_.OnDeadline(now_, out);
    book_.CheckInvariants();
    std::vector<std::string> hosts;
    for (const Action& action : out) hosts.push_back(std::get<ResolveHost>(action).host);
    return hosts;
  }
  bool Answer(const std::string& host, uint32_t addresses, Duration ttl, uint32_t first = 1) {
    ResolvedHost resolved{{}, ttl};
    for (uint32_t i = 0; i < addresses; ++i) {
      resolved.addresses.push_back(SocketAddress::V4(0x0a000000 + first + i, 0));
    }
    return book_.OnResolved(now_, {host, false}, resolved);
  }
  bool Fail(const std::string& host, absl::Status status = absl::UnavailableError("SERVFAIL")) {
    return book_.OnResolved(now_, {host, false}, std::move(status));
  }
  NameView View(const std::string& host) {
    for (const NameView& view : book_.Describe()) {
      if (view.host == host) return view;
    }
    ADD_FAILURE() << host;
    return {};
  }
  // How long the book waits before it asks again.
  Duration Wait() { return book_.NextDeadline().value() - now_; }

  NameStats stats_;
  NameBook book_{Random(5), stats_};
  Time now_{1000s};
};

TEST_F(NameBookTest, ANewNameIsAskedAtOnceAndAgainWhenItsTtlIsOver) {
  Keep({"a"});
  EXPECT_EQ(book_.NextDeadline(), now_);
  EXPECT_THAT(Asked(), ElementsAre("a"));
  EXPECT_FALSE(book_.NextDeadline());  // one is open
  EXPECT_TRUE(Answer("a", 2, 60s));
  EXPECT_GE(Wait(), 60s);
  EXPECT_LE(Wait(), 66s);
  now_ += 60s - 1ns;
  EXPECT_THAT(Asked(), IsEmpty());
  now_ = *book_.NextDeadline();
  EXPECT_THAT(Asked(), ElementsAre("a"));
  EXPECT_FALSE(Answer("a", 2, 60s));  // nothing new
  EXPECT_EQ(book_.AddressesOf({"a", false}).size(), 2u);
}

TEST_F(NameBookTest, TtlsAreKeptWithinTheirBoundsAndJittered) {
  Keep({"a"});
  std::set<Duration> waits;
  for (int i = 0; i < 50; ++i) {
    now_ = *book_.NextDeadline();
    Asked();
    Answer("a", 1, i % 2 == 0 ? 0s : 24h * 365);
    const Duration least = i % 2 == 0 ? Duration(kTtlMin) : Duration(kTtlMax);
    EXPECT_GE(Wait(), least);
    EXPECT_LE(Wait(), least + least / 10);
    EXPECT_EQ(View("a").ttl, least);
    waits.insert(Wait());
  }
  EXPECT_GT(waits.size(), 40u);
}

TEST_F(NameBookTest, AFailureIsRetriedWithoutEndAndTakesNothingAway) {
  Keep({"a"});
  Asked();
  Answer("a", 1, 5s);
  Duration longest{};
  for (int i = 0; i < 30; ++i) {
    now_ = *book_.NextDeadline();
    ASSERT_THAT(Asked(), ElementsAre("a"));
    EXPECT_FALSE(i % 2 == 0 ? Fail("a") : Answer("a", 0, 5s));
    EXPECT_GE(Wait(), kResolveBackoffMin);
    EXPECT_LE(Wait(), i == 0 ? 2 * kResolveBackoffMin : kResolveBackoffMax);
    longest = std::max(longest, Wait());
  }
  EXPECT_GT(longest, kResolveBackoffMax / 2);
  EXPECT_EQ(book_.AddressesOf({"a", false}).size(), 1u);
  EXPECT_EQ(View("a").failures, 30u);
  EXPECT_EQ(stats_.failed, 15u);
  EXPECT_EQ(stats_.not_found, 15u);
  now_ = *book_.NextDeadline();
  Asked();
  Answer("a", 1, 5s);
  EXPECT_EQ(View("a").failures, 0u);
}

TEST_F(NameBookTest, NoSecondLookUpWhileOneIsOpen) {
  Keep({"a"});
  Asked();
  for (int i = 0; i < 5; ++i) {
    now_ += 1h;
    book_.Hurry({"a", false});
    EXPECT_THAT(Asked(), IsEmpty());
  }
  // Nor where the name went and came back meanwhile.
  Keep({});
  Keep({"a"});
  EXPECT_THAT(Asked(), IsEmpty());
  EXPECT_TRUE(Answer("a", 1, 60s));
}

TEST_F(NameBookTest, LookUpsAreBegunInBatchesAndBounded) {
  std::vector<std::string> hosts;
  for (int i = 0; i < 300; ++i) hosts.push_back("name" + std::to_string(i));
  Keep(hosts);
  std::vector<std::string> open = Asked();
  EXPECT_EQ(open.size(), kLookupsPerBatch);
  EXPECT_THAT(Asked(), IsEmpty());
  EXPECT_EQ(Wait(), kBatchPause);
  for (int batch = 0; batch < 50; ++batch) {
    now_ += kBatchPause;
    for (const std::string& host : Asked()) open.push_back(host);
  }
  EXPECT_EQ(open.size(), kLookupsOpenMax);
  EXPECT_FALSE(book_.NextDeadline());
  // What is open stays open when its name goes.
  Keep({"other"});
  EXPECT_THAT(Asked(), IsEmpty());
  EXPECT_FALSE(Answer(open[0], 1, 60s));
  EXPECT_THAT(Asked(), ElementsAre("other"));
}

TEST_F(NameBookTest, AddressesOfANameAreBoundedAndEachOnce) {
  Keep({"a"});
  Asked();
  ResolvedHost resolved{{}, 60s};
  for (uint32_t i = 0; i < 100; ++i) {
    resolved.addresses.insert(resolved.addresses.end(), 2, SocketAddress::V4(0x0a000000 + i, 0));
  }
  EXPECT_TRUE(book_.OnResolved(now_, {"a", false}, resolved));
  const auto& addresses = book_.AddressesOf({"a", false});
  EXPECT_EQ(addresses.size(), kAddressesPerNameMax);
  EXPECT_EQ(std::adjacent_find(addresses.begin(), addresses.end()), addresses.end());
}

TEST_F(NameBookTest, HurryAsksSoonButNotTooOftenAndNotWithinTheBackOff) {
  Keep({"a"});
  Asked();
  Answer("a", 1, 600s);
  book_.Hurry({"a", false});
  EXPECT_EQ(Wait(), kResolveEvery);
  now_ += 1min;
  Keep({"a"});
  EXPECT_THAT(Asked(), ElementsAre("a"));
  Fail("a");
  for (int i = 0; i < 6; ++i) {
    now_ = *book_.NextDeadline();
    Asked();
    Fail("a");
  }
  const Duration wait = Wait();
  book_.Hurry({"a", false});
  EXPECT_EQ(Wait(), wait);
}

TEST_F(NameBookTest, SaysOfEachNameWhatItKnows) {
  Keep({"asked", "fine", "lost"});
  Asked();
  Answer("fine", 2, 60s);
  Fail("lost", absl::NotFoundError("lost: no such name"));
  EXPECT_EQ(View("asked").state, NameView::State::kAsking);
  EXPECT_FALSE(View("asked").next_try);
  const NameView fine = View("fine");
  EXPECT_EQ(fine.state, NameView::State::kOk);
  EXPECT_EQ(fine.addresses.size(), 2u);
  EXPECT_EQ(fine.ttl, 60s);
  EXPECT_TRUE(fine.next_try && fine.error.empty());
  const NameView lost = View("lost");
  EXPECT_EQ(lost.state, NameView::State::kFailed);
  EXPECT_EQ(lost.error, "lost: no such name");
  EXPECT_TRUE(lost.next_try && !lost.ttl);
  EXPECT_THAT(stats_.by_state, ElementsAre(1, 1, 1));
  EXPECT_EQ(stats_.found, 1u);
  Keep({});
  EXPECT_THAT(stats_.by_state, ElementsAre(0, 0, 0));
}

TEST_F(NameBookTest, V6IsFirstUntilV4Worked) {
  Keep({"a"});
  EXPECT_FALSE(book_.IsV4First({"a", false}));
  book_.SetWorked({"a", false}, /*v4=*/true);
  EXPECT_TRUE(book_.IsV4First({"a", false}));
  EXPECT_FALSE(book_.IsV4First({"b", false}));
}

TEST_F(NameBookTest, AStoppedBookAsksNobody) {
  Keep({"a"});
  book_.Stop();
  EXPECT_THAT(Asked(), IsEmpty());
  EXPECT_FALSE(book_.NextDeadline());
}

}  // namespace
}  // namespace overlay::flood
