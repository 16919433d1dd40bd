// server/port_holder.h
//
// Who has a UDP port, from /proc: so that "in use" can name the process.
#ifndef OVERLAY_SERVER_PORT_HOLDER_H_
#define OVERLAY_SERVER_PORT_HOLDER_H_

#include <cstdint>
#include <string>

namespace overlay::server {

// "process 4711 (overlayd)", or "a process that we may not see".
std::string UdpPortHolder(uint16_t port);

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_PORT_HOLDER_H_
