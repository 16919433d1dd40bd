#include "server/pages.h"

#include <fmt/format.h>
#include <prometheus/text_serializer.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "proto/json/operator_json.h"
#include "server/web/web_files.h"

namespace overlay::server {
namespace {

constexpr auto kPatience = std::chrono::milliseconds(1000);
constexpr Duration kPageLife = std::chrono::milliseconds(250);
// A loop that is silent for so long is not coming back: Kubernetes restarts it.
constexpr Duration kPulseMax = std::chrono::seconds(5);
// Long enough for a loop that only sleeps, and shorter than any probe's patience.
constexpr auto kPulsePatience = std::chrono::milliseconds(500);

// Nothing from elsewhere, and nobody's frame.
constexpr char kPagePolicy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

constexpr char kText[] = "text/plain; charset=utf-8";
constexpr char kJson[] = "application/json";

HttpPage Page(int status, std::string type, std::string body) {
  return {.status = status,
          .content_type = std::move(type),
          .body = std::move(body),
          .headers = {{"cache-control", "no-store"}, {"x-content-type-options", "nosniff"}}};
}

// Makes the page of what the loop gathered, on the thread that asks.
using Render = std::function<HttpPage()>;
using Gather = std::function<Render(Time)>;

class CachedPage {
 public:
  CachedPage(LoopDesk* desk, std::function<Time()> read_clock, Gather gather)
      : desk_(*desk), read_clock_(std::move(read_clock)), gather_(std::move(gather)) {}

  HttpPage Get() {
    // Held over the question: whoever comes meanwhile gets the same answer.
    const std::lock_guard<std::mutex> lock(mutex_);
    if (page_ && read_clock_() - made_ < kPageLife) return *page_;
    const std::optional<Render> render = desk_.Ask<Render>(gather_, kPatience);
    page_ = render ? (*render)() : Page(503, kText, "the daemon's loop did not answer in time\n");
    made_ = read_clock_();
    return *page_;
  }

 private:
  LoopDesk& desk_;
  const std::function<Time()> read_clock_;
  const Gather gather_;
  std::mutex mutex_;
  std::optional<HttpPage> page_;  // guarded by mutex_, as what follows
  Time made_{};
};

HttpPage LivePage(LoopDesk& desk, const LoopPulse& pulse, const std::function<Time()>& read_clock) {
  const auto silent_for = [&] { return read_clock() - pulse.turned.load(); };
  // A loop with nothing to do may sleep for longer: it is woken before it is judged.
  if (silent_for() >= kPulseMax / 5) {
    (void)desk.Ask<bool>([](Time) { return true; }, kPulsePatience);
  }
  const Duration silence = silent_for();
  const bool alive = silence < kPulseMax;
  const HealthCheck check{"loop", alive,
                          fmt::format("turned {} ms ago, {} are too many", ToMicros(silence) / 1000,
                                      ToMicros(kPulseMax) / 1000)};
  return Page(alive ? 200 : 503, kText, HealthText({check}, alive ? "alive" : "not alive"));
}

}  // namespace

std::vector<HttpRoute> MakePages(LoopDesk* desk, const LoopPulse* pulse,
                                 const PageSources& sources) {
  const auto route = [&](std::string path, Gather gather) {
    auto page = std::make_shared<CachedPage>(desk, sources.read_clock, std::move(gather));
    return HttpRoute{std::move(path), [page](const HttpRequest&) { return page->Get(); }};
  };
  std::vector<HttpRoute> routes;
  for (const WebFile& file : WebFiles()) {
    routes.push_back({std::string(file.path), [file](const HttpRequest&) {
                        HttpPage page = Page(200, std::string(file.type), std::string(file.text));
                        page.headers.emplace_back("content-security-policy", kPagePolicy);
                        return page;
                      }});
  }
  routes.push_back({"/livez", [desk, pulse, clock = sources.read_clock](const HttpRequest&) {
                      return LivePage(*desk, *pulse, clock);
                    }});
  routes.push_back(route("/readyz", [health = sources.health](Time now) -> Render {
    return [checks = health(now)] {
      const bool ready = WhyNotReady(checks).empty();
      return Page(ready ? 200 : 503, kText, HealthText(checks, ready ? "ready" : "not ready"));
    };
  }));
  routes.push_back(route("/startupz", [health = sources.health](Time now) -> Render {
    return [started = health(now).front()] {
      return Page(started.ok ? 200 : 503, kText,
                  HealthText({started}, started.ok ? "started" : "not started"));
    };
  }));
  routes.push_back(route("/status", [status = sources.status](Time now) -> Render {
    return [now_status = status(now)] { return Page(200, kJson, ToJson(now_status) + "\n"); };
  }));
  routes.push_back(route("/peers", [peers = sources.peers](Time now) -> Render {
    return [listed = peers(now)] {
      std::vector<std::string> texts;
      texts.reserve(listed.size());
      for (const v1::PeerDetail& peer : listed) texts.push_back(ToJson(peer));
      return Page(200, kJson, PeersJson(texts) + "\n");
    };
  }));
  routes.push_back(route("/metrics", [metrics = sources.metrics](Time now) -> Render {
    return [families = metrics(now)] {
      return Page(200, "text/plain; version=0.0.4; charset=utf-8",
                  prometheus::TextSerializer().Serialize(families));
    };
  }));
  return routes;
}

}  // namespace overlay::server
