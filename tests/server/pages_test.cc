#include "server/pages.h"

#include <atomic>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace overlay::server {
namespace {

using testing::HasSubstr;

// A loop that answers, on a thread of its own, and a clock that the test holds.
class PagesTest : public testing::Test {
 protected:
  PagesTest() {
    pulse_.turned = now_.load();
    routes_ = MakePages(&desk_, &pulse_,
                        {.status =
                             [this](Time) {
                               ++statuses_;
                               v1::StatusResponse status;
                               status.set_version("overlayd 9");
                               return status;
                             },
                         .peers =
                             [](Time) {
                               v1::PeerDetail peer;
                               peer.set_agent("a\"b\n\x01");
                               peer.set_state(v1::PeerDetail::STATE_CONNECTED);
                               return std::vector<v1::PeerDetail>{peer, peer};
                             },
                         .metrics = [](Time) { return std::vector<prometheus::MetricFamily>{}; },
                         .health = [this](Time) { return CheckHealth(HealthNeeds{}, facts_); },
                         .read_clock = [this] { return now_.load(); }});
  }
  ~PagesTest() override {
    ended_ = true;
    desk_.Stop();
    if (loop_.joinable()) loop_.join();
  }
  void StartLoop() {
    loop_ = std::thread([this] {
      while (!ended_) {
        if (!woken_.exchange(false)) {
          std::this_thread::yield();
          continue;
        }
        pulse_.turned = now_.load();
        if (desk_.AnswerOne(now_)) woken_ = true;
      }
    });
  }
  HttpPage Get(const std::string& path, const std::string& method = "GET") {
    return ServePage(routes_, method, {.path = path});
  }

  std::atomic<Time> now_{Time(std::chrono::seconds(100))};
  std::atomic<bool> ended_{false};
  std::atomic<bool> woken_{false};
  std::atomic<int> statuses_{0};
  HealthFacts facts_{
      .started = true, .draining = false, .core_attached = true, .peers_connected = 1};
  LoopDesk desk_{[this] { woken_ = true; }};
  LoopPulse pulse_;
  std::vector<HttpRoute> routes_;
  std::thread loop_;
};

TEST_F(PagesTest, APageIsMadeOnceInAQuarterOfASecond) {
  StartLoop();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(Get("/status").status, 200);
  EXPECT_EQ(statuses_.load(), 1);
  now_ = now_.load() + std::chrono::milliseconds(250);
  EXPECT_THAT(Get("/status").body, HasSubstr("\"version\":\"overlayd 9\""));
  EXPECT_EQ(statuses_.load(), 2);
}

TEST_F(PagesTest, PeersAreJsonWhateverTheyCallThemselves) {
  StartLoop();
  const HttpPage page = Get("/peers");
  EXPECT_EQ(page.content_type, "application/json");
  EXPECT_THAT(page.body, HasSubstr(R"("agent":"a\"b\u000a\u0001")"));
}

TEST_F(PagesTest, ReadinessSaysWhatIsMissing) {
  StartLoop();
  EXPECT_EQ(Get("/readyz").status, 200);
  facts_.core_attached = false;
  now_ = now_.load() + std::chrono::seconds(1);
  const HttpPage page = Get("/readyz");
  EXPECT_EQ(page.status, 503);
  EXPECT_THAT(page.body, HasSubstr("[-]core failed"));
  EXPECT_THAT(page.body, HasSubstr("not ready\n"));
  EXPECT_EQ(Get("/startupz").status, 200);
}

TEST_F(PagesTest, NotStartedYet) {
  facts_.started = false;
  StartLoop();
  EXPECT_EQ(Get("/startupz").status, 503);
  EXPECT_EQ(Get("/readyz").status, 503);
}

// It sleeps as long as there is nothing to do, and is woken before it is judged.
TEST_F(PagesTest, ALoopThatSleepsLives) {
  StartLoop();
  now_ = now_.load() + std::chrono::hours(1);
  EXPECT_EQ(Get("/livez").status, 200);
}

TEST_F(PagesTest, ALoopThatHangsIsDeadAfterFiveSecondsAndNotBefore) {
  now_ = now_.load() + std::chrono::milliseconds(4999);
  EXPECT_EQ(Get("/livez").status, 200);
  now_ = now_.load() + std::chrono::milliseconds(1);
  const HttpPage page = Get("/livez");
  EXPECT_EQ(page.status, 503);
  EXPECT_THAT(page.body, HasSubstr("[-]loop failed: turned 5000 ms ago"));
}

TEST_F(PagesTest, WhatTheLoopDoesNotAnswerIsUnavailable) {
  const HttpPage page = Get("/status");
  EXPECT_EQ(page.status, 503);
  EXPECT_THAT(page.body, HasSubstr("did not answer"));
}

TEST_F(PagesTest, OnlyWhatIsThereAndOnlyReading) {
  StartLoop();
  EXPECT_EQ(Get("/nothing").status, 404);
  EXPECT_THAT(Get("/nothing").body, HasSubstr("/readyz\n"));
  EXPECT_EQ(Get("/status/").status, 404);
  EXPECT_EQ(Get("").status, 400);
  EXPECT_EQ(Get("*", "OPTIONS").status, 400);
  const HttpPage refused = Get("/status", "POST");
  EXPECT_EQ(refused.status, 405);
  ASSERT_EQ(refused.headers.size(), 1u);
  EXPECT_EQ(refused.headers[0].second, "GET, HEAD");
  EXPECT_EQ(Get("/status", "HEAD").status, 200);
}

// The page for people asks nobody but this daemon, and runs nothing that stands in its markup.
TEST_F(PagesTest, ThePageForPeopleIsWholeInItself) {
  const HttpPage page = Get("/");
  EXPECT_EQ(page.status, 200);
  EXPECT_THAT(page.headers, testing::Contains(testing::Pair("content-security-policy",
                                                            HasSubstr("default-src 'none'"))));
  for (const char* path : {"/", "/page.css", "/page.js"}) {
    const std::string text = Get(path).body;
    EXPECT_GT(text.size(), 500u) << path;
    EXPECT_EQ(text.find("src=\"http"), std::string::npos) << path;
    EXPECT_EQ(text.find("url(http"), std::string::npos) << path;
    EXPECT_EQ(text.find("onclick="), std::string::npos) << path;
    EXPECT_EQ(text.find("<style"), std::string::npos) << path;
  }
}

TEST(HttpRoutes, ARouteWithASlashAtItsEndHasWhatIsBelowIt) {
  const std::vector<HttpRoute> routes = {{"/sets/", [](const HttpRequest& request) {
                                            return HttpPage{.content_type = "text/plain",
                                                            .body = request.path};
                                          }}};
  EXPECT_EQ(ServePage(routes, "GET", {.path = "/sets/ab"}).body, "/sets/ab");
  EXPECT_EQ(ServePage(routes, "GET", {.path = "/sets/"}).status, 404);
  EXPECT_EQ(ServePage(routes, "GET", {.path = "/setsab"}).status, 404);
}

}  // namespace
}  // namespace overlay::server
