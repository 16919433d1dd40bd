// server/health.h
//
// Whether the daemon is of use now: what /startupz, /readyz and grpc.health.v1 say.
//
// Rules
//   R1  Started: from the first turn of the loop on. Every listener is open by then, and what was
//       kept over a restart is back.
//   R2  Ready: started, not draining, a core attached (unless `ready.core` is false) and at least
//       `ready.peers_min` peers connected.
//
// Not here  Whether the loop still turns (/livez, pages.h): a loop that hangs cannot say so.
#ifndef OVERLAY_SERVER_HEALTH_H_
#define OVERLAY_SERVER_HEALTH_H_

#include <cstdint>
#include <string>
#include <vector>

namespace overlay::server {

struct HealthNeeds {
  bool core = true;
  uint64_t peers_min = 1;
};
struct HealthFacts {
  bool started = false;
  bool draining = false;
  bool core_attached = false;
  uint64_t peers_connected = 0;
};

bool IsReady(const HealthNeeds& needs, const HealthFacts& facts);

struct HealthCheck {
  std::string name;  // "peers"
  bool ok = false;
  std::string detail;  // "0 connected, ready.peers_min is 1"
};
// Everything that IsReady() looks at.
std::vector<HealthCheck> CheckHealth(const HealthNeeds& needs, const HealthFacts& facts);
// A line for each, "[+]core ok: attached" or "[-]peers failed: ...", then `verdict`.
std::string HealthText(const std::vector<HealthCheck>& checks, const std::string& verdict);
// The details of what failed, in one line; empty: nothing has.
std::string WhyNotReady(const std::vector<HealthCheck>& checks);

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_HEALTH_H_
