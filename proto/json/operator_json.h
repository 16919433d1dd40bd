// proto/json/operator_json.h
//
// What operators read of a daemon as JSON: the same in `overlayctl --json` and on the daemon's own
// pages. Fields have the names of operator.proto; what is absent there is null or absent here.
// Later versions add fields.
#ifndef OVERLAY_PROTO_JSON_OPERATOR_JSON_H_
#define OVERLAY_PROTO_JSON_OPERATOR_JSON_H_

#include <string>
#include <vector>

#include "overlay/v1/operator.pb.h"
#include "proto/json/json_object.h"

namespace overlay {

std::string ToJson(const v1::StatusResponse& status);
std::string ToJson(const v1::PeerDetail& peer);
// All of them, each by ToJson.
std::string PeersJson(const std::vector<std::string>& peers);

const char* StateName(v1::PeerDetail::State state);
// Empty: unspecified.
const char* DirectionName(v1::Direction direction);
// An enumerator's name without its prefix, in lower case: "PLACE_POOLED" is "pooled".
std::string Plain(const std::string& name);

}  // namespace overlay

#endif  // OVERLAY_PROTO_JSON_OPERATOR_JSON_H_
