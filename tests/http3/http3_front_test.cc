#include "server/http3/http3_front.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "tests/support/http3_world.h"

namespace overlay::server {
namespace {

using namespace std::chrono_literals;
using transport::StreamId;

HttpPage Echo(const HttpRequest& request) {
  return {.status = 200,
          .content_type = "text/plain",
          .body = request.path + "|" + request.query + "|" + request.if_none_match + "|" +
                  request.accept_encoding,
          .headers = {{"x-test", "1"}}};
}

std::string Numbers(size_t bytes) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>((i * 2654435761u) >> 13);
  return text;
}

TEST(Http3Front, AnswersGetWithPathQueryAndHeaders) {
  Http3World world;
  world.Serve(Echo);
  Http3Client& client = world.AddClient();
  const Http3Answer answer =
      world.Fetch(client, {.path = "/peers%2d?limit=3",
                           .headers = {{"if-none-match", "\"a\""}, {"accept-encoding", "zstd"}}});
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "/peers-|limit=3|\"a\"|zstd");
  EXPECT_EQ(answer.headers.at("content-type"), "text/plain");
  EXPECT_EQ(answer.headers.at("content-length"), std::to_string(answer.body.size()));
  EXPECT_EQ(answer.headers.at("x-test"), "1");
  EXPECT_EQ(world.counters().answers[0].value(), 1u);
  EXPECT_EQ(world.counters().connections.value(), 1u);
}

TEST(Http3Front, HeadHasTheHeaderOnly) {
  Http3World world;
  world.Serve(Echo);
  const Http3Answer answer = world.Fetch(world.AddClient(), {.method = "HEAD", .path = "/a"});
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.at("content-length"), "5");
  EXPECT_TRUE(answer.body.empty());
  EXPECT_TRUE(answer.is_complete);
}

TEST(Http3Front, RefusesOtherMethodsBodiesPathsAndLongHeaders) {
  Http3World world;
  world.Serve(Echo);
  Http3Client& client = world.AddClient();
  const Http3Answer post = world.Fetch(client, {.method = "POST", .path = "/", .body = "x"});
  EXPECT_EQ(post.status, 405);
  EXPECT_EQ(post.headers.at("allow"), "GET, HEAD");
  EXPECT_EQ(world.Fetch(client, {.method = "DELETE", .path = "/"}).status, 405);
  EXPECT_EQ(world.Fetch(client, {.path = "/", .body = std::string(100'000, 'x')}).status, 413);
  EXPECT_EQ(world.Fetch(client, {.path = "/../etc"}).status, 400);
  EXPECT_EQ(world.Fetch(client, {.path = "/a%00"}).status, 400);
  // Just under the limit, just over it, and over the stream's window.
  const auto with_header = [&](size_t bytes) {
    return world.Fetch(client, {.path = "/", .headers = {{"x-long", std::string(bytes, 'a')}}})
        .status;
  };
  EXPECT_EQ(with_header(kHttp3HeaderBytesMax - 400), 200);
  EXPECT_EQ(with_header(kHttp3HeaderBytesMax), 431);
  EXPECT_EQ(with_header(60'000), 431);
  EXPECT_EQ(world.refused(Http3Refusal::kMethod), 2u);
  EXPECT_EQ(world.refused(Http3Refusal::kBody), 1u);
  EXPECT_EQ(world.refused(Http3Refusal::kMalformed), 2u);
  EXPECT_EQ(world.refused(Http3Refusal::kHeader), 2u);
  // And the connection lives on.
  EXPECT_EQ(world.Fetch(client, {.path = "/"}).status, 200);
  EXPECT_EQ(world.counters().connections_failed.value(), 0u);
}

TEST(Http3Front, StreamsALargePageWithoutACopyOfItsOwn) {
  Http3World world;
  const Bytes set = Bytes::Take(Numbers(10 << 20));
  world.Serve([&](const HttpRequest&) {
    return HttpPage{
        .status = 200, .content_type = "application/octet-stream", .body = "", .payload = set};
  });
  Http3Client& first = world.AddClient();
  Http3Client& second = world.AddClient();
  ASSERT_TRUE(world.RunUntil([&] { return first.is_up() && second.is_up(); }, 1s));
  const auto a = first.Ask({.path = "/x"});
  const auto b = second.Ask({.path = "/x"});
  ASSERT_TRUE(a && b);
  ASSERT_TRUE(world.RunUntil([&] { return first.answer(*a).body.size() > (1u << 20); }, 60s));
  EXPECT_EQ(world.counters().body_bytes.value(), set.size());  // shared
  ASSERT_TRUE(world.RunUntil(
      [&] { return first.answer(*a).is_complete && second.answer(*b).is_complete; }, 60s));
  EXPECT_TRUE(first.answer(*a).body == set.view());
  EXPECT_TRUE(second.answer(*b).body == set.view());
  world.RunFor(1s);
  EXPECT_EQ(world.counters().body_bytes.value(), 0u);
  EXPECT_EQ(set.UseCountForTest(), 1);
}

TEST(Http3Front, ManyRequestsOfOneConnection) {
  Http3World world;
  world.Serve(Echo);
  Http3Client& client = world.AddClient();
  for (int i = 0; i < 300; ++i) {
    const Http3Answer answer = world.Fetch(client, {.path = "/" + std::to_string(i)});
    ASSERT_EQ(answer.status, 200) << i;
    ASSERT_EQ(answer.body, "/" + std::to_string(i) + "|||");
  }
}

TEST(Http3Front, NoMoreThanSoManyRequestsAtOnce) {
  Http3World world;
  Http3Client& client = world.AddClient();
  ASSERT_TRUE(world.RunUntil([&] { return client.is_up(); }, 1s));
  for (uint64_t i = 0; i < kHttp3StreamsMax; ++i) ASSERT_TRUE(client.Ask({.path = "/"}));
  EXPECT_FALSE(client.Ask({.path = "/"}));
  world.RunFor(1s);
  ASSERT_EQ(world.asked().size(), kHttp3StreamsMax);
  for (const Http3Asked& asked : world.asked()) {
    world.front().Respond(world.now(), asked.ticket, PlainPage(200, "x"));
  }
  world.RunFor(1s);
  EXPECT_TRUE(client.Ask({.path = "/"}));
}

TEST(Http3Front, OneConnectionOverItsRateGets429AndAllTogether503) {
  Http3World world({.connections_max = 64, .requests_per_second_max = 20});
  world.Serve(Echo);
  const auto count = [&](Http3Client& client, int requests, int status) {
    int found = 0;
    for (int i = 0; i < requests; ++i) {
      const Http3Answer answer = world.Fetch(client, {.path = "/"});
      if (answer.status == status) ++found;
      if (status >= 400 && answer.status == status) {
        EXPECT_EQ(answer.headers.at("retry-after"), "1");
      }
    }
    return found;
  };
  Http3Client& first = world.AddClient();
  Http3Client& second = world.AddClient();
  Http3Client& third = world.AddClient();
  ASSERT_TRUE(world.RunUntil([&] { return first.is_up() && second.is_up() && third.is_up(); }, 1s));
  // 10 a second each; a request takes some 2 ms here.
  EXPECT_EQ(count(first, 11, 429), 1);
  EXPECT_EQ(count(second, 10, 200), 10);
  EXPECT_GE(count(third, 5, 503), 4);
  world.RunFor(1s);
  EXPECT_EQ(count(first, 1, 200), 1);
}

TEST(Http3Front, AnIdleConnectionGivesItsPlaceABusyOneDoesNot) {
  Http3World world({.connections_max = 8, .requests_per_second_max = 1'000});
  std::vector<Http3Client*> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(&world.AddClient(static_cast<uint8_t>(i / 4)));  // two hosts
    ASSERT_TRUE(world.RunUntil([&] { return clients.back()->is_up(); }, 1s)) << i;
  }
  ASSERT_TRUE(clients[0]->Ask({.path = "/"}));  // at work: the page is never made
  world.RunFor(100ms);
  Http3Client& ninth = world.AddClient(9);
  ASSERT_TRUE(world.RunUntil([&] { return ninth.is_up(); }, 1s));
  world.RunFor(100ms);
  EXPECT_EQ(world.counters().connections_displaced.value(), 1u);
  EXPECT_FALSE(clients[0]->closed());
  EXPECT_TRUE(clients[1]->closed());  // idle for longest, of a host that held most
  for (size_t i = 2; i < 8; ++i) EXPECT_FALSE(clients[i]->closed()) << i;
}

TEST(Http3Front, WhereAllAreAtWorkTheNewcomerIsRefused) {
  Http3World world({.connections_max = 2, .requests_per_second_max = 1'000});
  Http3Client& first = world.AddClient();
  Http3Client& second = world.AddClient();
  ASSERT_TRUE(world.RunUntil([&] { return first.is_up() && second.is_up(); }, 1s));
  ASSERT_TRUE(first.Ask({.path = "/"}) && second.Ask({.path = "/"}));
  world.RunFor(100ms);
  Http3Client& third = world.AddClient();
  ASSERT_TRUE(world.RunUntil([&] { return third.closed().has_value(); }, 1s));
  EXPECT_EQ(third.closed()->code, static_cast<uint64_t>(NGHTTP3_H3_EXCESSIVE_LOAD));
  EXPECT_EQ(world.counters().connections_refused.value(), 1u);
  EXPECT_FALSE(first.closed() || second.closed());
}

TEST(Http3Front, OneAddressHoldsAQuarterOfThePlaces) {
  Http3World world({.connections_max = 64, .requests_per_second_max = 1'000});
  std::vector<Http3Client*> clients;
  for (int i = 0; i < 16; ++i) {
    clients.push_back(&world.AddClient(7));
    ASSERT_TRUE(world.RunUntil([&] { return clients.back()->is_up(); }, 2s)) << i;
  }
  world.RunFor(100ms);
  EXPECT_EQ(world.counters().connections_displaced.value(), 0u);
  Http3Client& next = world.AddClient(7);
  ASSERT_TRUE(world.RunUntil([&] { return next.is_up(); }, 2s));
  world.RunFor(100ms);
  EXPECT_EQ(world.counters().connections_displaced.value(), 1u);
  EXPECT_TRUE(clients[0]->closed());
}

TEST(Http3Front, AReaderThatStopsCostsItsShareForItsTime) {
  Http3World world;
  int page = 0;
  world.Serve([&](const HttpRequest&) {
    return HttpPage{.status = 200,
                    .content_type = "x/y",
                    .body = std::string(10 << 20, static_cast<char>(++page))};
  });
  Http3Client& client = world.AddClient();
  ASSERT_TRUE(world.RunUntil([&] { return client.is_up(); }, 1s));
  client.set_reading(false);
  std::vector<StreamId> streams;
  for (int i = 0; i < 5; ++i) streams.push_back(*client.Ask({.path = "/"}));
  world.RunFor(5s);
  EXPECT_EQ(world.counters().body_bytes.value(), 20u << 20);  // two of them
  EXPECT_EQ(world.refused(Http3Refusal::kMemory), 3u);
  EXPECT_FALSE(client.closed());
  // 10 s after the last byte that could be sent.
  world.RunFor(kHttp3StallTimeout - 5s - 100ms);
  EXPECT_FALSE(client.closed());
  world.RunFor(300ms);
  ASSERT_TRUE(client.closed());
  EXPECT_EQ(client.closed()->code, static_cast<uint64_t>(NGHTTP3_H3_EXCESSIVE_LOAD));
  EXPECT_EQ(world.counters().connections_stalled.value(), 1u);
  EXPECT_EQ(world.counters().body_bytes.value(), 0u);
}

TEST(Http3Front, AllReadersTogetherHoldNoMoreThanTheBudget) {
  Http3World world;
  int page = 0;
  world.Serve([&](const HttpRequest&) {
    return HttpPage{.status = 200,
                    .content_type = "x/y",
                    .body = std::string(12 << 20, static_cast<char>(++page))};
  });
  std::vector<Http3Client*> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(&world.AddClient());
    clients.back()->set_reading(false);
  }
  ASSERT_TRUE(
      world.RunUntil([&] { return world.counters().connections.value() == clients.size(); }, 2s));
  world.RunFor(100ms);
  for (Http3Client* client : clients) {
    ASSERT_TRUE(client->Ask({.path = "/"}));
    ASSERT_TRUE(client->Ask({.path = "/"}));
  }
  world.RunFor(2s);
  EXPECT_EQ(world.counters().body_bytes.value(), 10u * (12 << 20));
  EXPECT_EQ(world.refused(Http3Refusal::kMemory), 6u);
}

TEST(Http3Front, ARequestThatNeverEndsIsGivenUp) {
  Http3World world;
  world.Serve(Echo);
  Http3Client& client = world.AddClient();
  ASSERT_TRUE(world.RunUntil([&] { return client.is_up(); }, 1s));
  const auto endless = client.Ask({.path = "/", .is_endless = true});
  ASSERT_TRUE(endless);
  world.RunFor(kHttp3RequestTimeout - 100ms);
  EXPECT_FALSE(client.answer(*endless).reset);
  world.RunFor(300ms);
  ASSERT_TRUE(client.answer(*endless).reset);
  EXPECT_EQ(*client.answer(*endless).reset, static_cast<uint64_t>(NGHTTP3_H3_REQUEST_INCOMPLETE));
  EXPECT_EQ(world.Fetch(client, {.path = "/"}).status, 200);
}

TEST(Http3Front, AConnectionOnWhichNothingIsAskedEnds) {
  Http3World world;
  Http3Client& client = world.AddClient();
  ASSERT_TRUE(world.RunUntil([&] { return client.is_up(); }, 1s));
  world.RunFor(kHttp3IdleTimeout + 1s);
  EXPECT_EQ(world.counters().connections.value(), 0u);
}

TEST(Http3Front, AClientThatGoesTakesItsRequestsWithIt) {
  Http3World world;
  Http3Client& client = world.AddClient();
  ASSERT_TRUE(world.RunUntil([&] { return client.is_up(); }, 1s));
  ASSERT_TRUE(client.Ask({.path = "/"}));
  ASSERT_TRUE(world.RunUntil([&] { return !world.asked().empty(); }, 1s));
  client.Close(world.now());
  ASSERT_TRUE(world.RunUntil([&] { return world.counters().connections.value() == 0; }, 1s));
  world.front().Respond(world.now(), world.asked()[0].ticket, PlainPage(200, "late"));
  world.RunFor(1s);
  EXPECT_EQ(world.counters().answers[0].value(), 0u);
  EXPECT_EQ(world.counters().body_bytes.value(), 0u);
}

TEST(Http3Front, GarbageAndHalfADatagramCostNothing) {
  Http3World world;
  world.Serve(Echo);
  Http3Client& client = world.AddClient();
  Random random(7);
  for (int i = 0; i < 2'000; ++i) {
    std::vector<uint8_t> payload(random.Below(1'400) + 1);
    random.Fill(absl::MakeSpan(payload));
    if (random.Chance(0.5)) {  // like a first packet of version 1
      payload[0] = static_cast<uint8_t>(0xc0 | (payload[0] & 0x0f));
      for (size_t k = 1; k < 5 && k < payload.size(); ++k) payload[k] = k == 4 ? 1 : 0;
    }
    world.Inject(payload);
  }
  world.RunFor(2s);
  EXPECT_GE(world.counters().datagrams_unroutable.value(), 500u);
  EXPECT_EQ(world.Fetch(client, {.path = "/"}).status, 200);
  EXPECT_EQ(world.counters().connections.value(), 1u);
}

TEST(Http3Front, ADrainSaysGoawayAnswersWhatIsUnderWayAndCloses) {
  Http3World world;
  Http3Client& busy = world.AddClient();
  Http3Client& idle = world.AddClient();
  ASSERT_TRUE(world.RunUntil([&] { return busy.is_up() && idle.is_up(); }, 1s));
  const auto stream = busy.Ask({.path = "/"});
  ASSERT_TRUE(world.RunUntil([&] { return !world.asked().empty(); }, 1s));
  world.front().BeginDrain(world.now());
  world.RunFor(50ms);
  EXPECT_TRUE(busy.was_told_goaway());
  EXPECT_TRUE(idle.closed());
  EXPECT_FALSE(busy.closed());
  EXPECT_FALSE(world.front().is_over());
  world.front().Respond(world.now(), world.asked()[0].ticket, PlainPage(200, "still"));
  ASSERT_TRUE(world.RunUntil([&] { return world.front().is_over(); }, 300ms));
  EXPECT_EQ(busy.answer(*stream).body, "still");
  Http3Client& late = world.AddClient();
  world.RunFor(2s);
  EXPECT_FALSE(late.is_up());
}

TEST(Http3Front, ADrainWaitsForNobodyLongerThanItsTime) {
  Http3World world;
  Http3Client& client = world.AddClient();
  ASSERT_TRUE(world.RunUntil([&] { return client.is_up(); }, 1s));
  ASSERT_TRUE(client.Ask({.path = "/"}));
  ASSERT_TRUE(world.RunUntil([&] { return !world.asked().empty(); }, 1s));
  world.front().BeginDrain(world.now());
  world.RunFor(kHttp3DrainMax - 10ms);
  EXPECT_FALSE(world.front().is_over());
  world.RunFor(20ms);
  EXPECT_TRUE(world.front().is_over());
}

}  // namespace
}  // namespace overlay::server
