#include "server/health.h"

#include <fmt/format.h>

namespace overlay::server {

bool IsReady(const HealthNeeds& needs, const HealthFacts& facts) {
  return facts.started && !facts.draining && (facts.core_attached || !needs.core) &&
         facts.peers_connected >= needs.peers_min;
}

std::vector<HealthCheck> CheckHealth(const HealthNeeds& needs, const HealthFacts& facts) {
  std::vector<HealthCheck> checks;
  checks.push_back(
      {"started", facts.started, facts.started ? "all listeners are open" : "not yet"});
  checks.push_back({"drain", !facts.draining, facts.draining ? "the daemon stops" : "none"});
  checks.push_back(
      {"core", facts.core_attached || !needs.core,
       fmt::format("{}, ready.core is {}", facts.core_attached ? "attached" : "none", needs.core)});
  checks.push_back(
      {"peers", facts.peers_connected >= needs.peers_min,
       fmt::format("{} connected, ready.peers_min is {}", facts.peers_connected, needs.peers_min)});
  return checks;
}

std::string HealthText(const std::vector<HealthCheck>& checks, const std::string& verdict) {
  std::string text;
  for (const HealthCheck& check : checks) {
    text += fmt::format("[{}]{} {}: {}\n", check.ok ? '+' : '-', check.name,
                        check.ok ? "ok" : "failed", check.detail);
  }
  return text + verdict + "\n";
}

std::string WhyNotReady(const std::vector<HealthCheck>& checks) {
  std::string why;
  for (const HealthCheck& check : checks) {
    if (check.ok) continue;
    why += fmt::format("{}{}: {}", why.empty() ? "" : "; ", check.name, check.detail);
  }
  return why;
}

}  // namespace overlay::server
