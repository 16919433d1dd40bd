// flood/base/resolved_host.h
//
// What a look-up of a name gave: the border between the rules of dialling (flood/peers) and the
// resolver (transport/dns_resolver.h).
#ifndef OVERLAY_FLOOD_BASE_RESOLVED_HOST_H_
#define OVERLAY_FLOOD_BASE_RESOLVED_HOST_H_

#include <vector>

#include "flood/base/socket_address.h"
#include "flood/base/time.h"

namespace overlay {

struct ResolvedHost {
  // Port 0: the name says none, and each entry has its own.
  std::vector<SocketAddress> addresses;
  Duration ttl{};  // how long they are good; the smallest of the records used
};

}  // namespace overlay

#endif  // OVERLAY_FLOOD_BASE_RESOLVED_HOST_H_
