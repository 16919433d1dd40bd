#include "server/operator_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "flood/base/crypto.h"
#include "flood/peers/ban_list.h"
#include "server/peer_entry.h"

namespace overlay::server {
namespace {

constexpr size_t kItemsPerPart = 100;

// One request, then all that `answer` gives it: messages and a status.
struct Answer {
  std::vector<grpc::ByteBuffer> messages;
  grpc::Status status;
};

template <class Request>
class OperatorCall : public RpcHandler {
 public:
  using Handle = std::function<Answer(Time, const Request&)>;
  OperatorCall(RpcCall* call, Handle handle) : call_(*call), handle_(std::move(handle)) {}

  void OnStart(Time /*now*/) override { call_.Read(); }
  void OnMessage(Time now, const grpc::ByteBuffer& message) override {
    Request request;
    if (!Decode(message, &request)) {
      call_.Finish({grpc::StatusCode::INVALID_ARGUMENT,
                    fmt::format("not a {} in protobuf's encoding",
                                std::string(Request::descriptor()->name()))});
      return;
    }
    answer_ = handle_(now, request);
    WriteNext();
  }
  void OnHalfClosed(Time /*now*/) override {
    call_.Finish({grpc::StatusCode::INVALID_ARGUMENT, "no request came"});
  }
  void OnWritten(Time /*now*/) override { WriteNext(); }
  void OnEnded(Time /*now*/) override {}

 private:
  void WriteNext() {
    if (next_ == answer_.messages.size()) {
      call_.Finish(answer_.status);
    } else if (next_ + 1 == answer_.messages.size()) {
      call_.WriteAndFinish(answer_.messages[next_++], answer_.status);
    } else {
      call_.Write(answer_.messages[next_++]);
    }
  }

  RpcCall& call_;
  const Handle handle_;
  Answer answer_;
  size_t next_ = 0;
};

template <class Request>
RpcMethod Method(std::string_view name, typename OperatorCall<Request>::Handle handle) {
  RpcMethod method;
  method.path = fmt::format("/overlay.v1.Operator/{}", name);
  method.on_core = false;
  method.make = [handle](RpcCall* call) {
    return std::make_unique<OperatorCall<Request>>(call, handle);
  };
  return method;
}

template <class Message>
Answer Whole(const Message& message) {
  return {{Encode(message)}, grpc::Status::OK};
}

// A list in parts of kItemsPerPart; an empty one is one part with nothing. `add` gives the place
// for the next item of a part.
template <class Part, class Item>
Answer InParts(std::vector<Item> items, Item* (Part::*add)()) {
  Answer answer;
  size_t next = 0;
  do {
    Part part;
    for (size_t end = std::min(items.size(), next + kItemsPerPart); next < end; ++next) {
      *(part.*add)() = std::move(items[next]);
    }
    answer.messages.push_back(Encode(part));
  } while (next < items.size());
  return answer;
}

// INVALID_ARGUMENT unless it has 32 bytes.
template <class HashType>
absl::StatusOr<HashType> ParseHash(const std::string& bytes) {
  HashType hash;
  if (bytes.size() != hash.bytes.size()) {
    return absl::InvalidArgumentError(
        fmt::format("hash: {} bytes, expected {}", bytes.size(), hash.bytes.size()));
  }
  std::copy(bytes.begin(), bytes.end(), hash.bytes.begin());
  return hash;
}

Answer Illegal(const absl::Status& status) {
  return {{}, {grpc::StatusCode::INVALID_ARGUMENT, std::string(status.message())}};
}

// `field`: whose value it is.
absl::StatusOr<NodeKey> ParseKey(std::string_view field, const std::string& strkey) {
  absl::StatusOr<NodeKey> key = NodeKeyFromStrkey(strkey);
  if (key.ok()) return key;
  return absl::InvalidArgumentError(
      fmt::format("{}: \"{}\" is not legal, expected a public key, G... ({})", field,
                  strkey.substr(0, 64), std::string(key.status().message())));
}

// 10 years: what is longer is meant to have no end.
constexpr uint64_t kBanSecondsMax = uint64_t{3650} * 86400;

absl::StatusOr<flood::OperatorBan> ParseBan(const v1::BanRequest& request) {
  const absl::StatusOr<NodeKey> key = ParseKey("peer", request.peer());
  if (!key.ok()) return key.status();
  flood::OperatorBan ban{*key, std::nullopt, request.reason()};
  if (request.has_duration_s()) {
    if (request.duration_s() < 1 || request.duration_s() > kBanSecondsMax) {
      return absl::InvalidArgumentError(fmt::format("duration_s: {}, expected 1 to {}, or none",
                                                    request.duration_s(), kBanSecondsMax));
    }
    ban.duration = std::chrono::seconds(request.duration_s());
  }
  if (!flood::IsBanReason(ban.reason)) {
    return absl::InvalidArgumentError(
        fmt::format("reason: {} bytes, expected at most {} printable characters of ASCII",
                    ban.reason.size(), flood::kBanReasonMax));
  }
  return ban;
}

template <class Response>
Answer OkOr(const grpc::Status& status) {
  if (!status.ok()) return {{}, status};
  return Whole(Response());
}

}  // namespace

std::vector<RpcMethod> OperatorMethods(OperatorSource* source) {
  std::vector<RpcMethod> methods;
  methods.push_back(Method<v1::StatusRequest>(
      "Status",
      [source](Time now, const v1::StatusRequest&) { return Whole(source->Status(now)); }));
  methods.push_back(Method<v1::MetricsRequest>(
      "Metrics",
      [source](Time now, const v1::MetricsRequest&) { return Whole(source->Metrics(now)); }));
  methods.push_back(
      Method<v1::ListPeersRequest>("ListPeers", [source](Time now, const v1::ListPeersRequest&) {
        return InParts(source->ListPeers(now), &v1::ListPeersPart::add_peers);
      }));
  methods.push_back(
      Method<v1::ListNamesRequest>("ListNames", [source](Time now, const v1::ListNamesRequest&) {
        return InParts(source->ListNames(now), &v1::ListNamesPart::add_names);
      }));
  methods.push_back(
      Method<v1::ConnectRequest>("Connect", [source](Time now, const v1::ConnectRequest& request) {
        absl::StatusOr<flood::PeerEntry> entry =
            ParsePeerEntry(request.address(), /*preferred=*/false);
        if (!entry.ok()) {
          return Answer{{},
                        {grpc::StatusCode::INVALID_ARGUMENT,
                         "address: " + std::string(entry.status().message())}};
        }
        return OkOr<v1::ConnectResponse>(source->Connect(now, *std::move(entry)));
      }));
  methods.push_back(Method<v1::DisconnectRequest>(
      "Disconnect", [source](Time now, const v1::DisconnectRequest& request) {
        if (const auto key = NodeKeyFromStrkey(request.peer()); key.ok()) {
          return OkOr<v1::DisconnectResponse>(source->Disconnect(now, {*key}));
        }
        absl::StatusOr<flood::PeerEntry> entry =
            ParsePeerEntry(request.peer(), /*preferred=*/false);
        if (!entry.ok()) {
          return Answer{{},
                        {grpc::StatusCode::INVALID_ARGUMENT,
                         "peer: expected a public key, G..., or an entry as Connect takes it: " +
                             std::string(entry.status().message())}};
        }
        return OkOr<v1::DisconnectResponse>(source->Disconnect(now, {*std::move(entry)}));
      }));
  methods.push_back(
      Method<v1::BanRequest>("Ban", [source](Time now, const v1::BanRequest& request) {
        absl::StatusOr<flood::OperatorBan> ban = ParseBan(request);
        if (!ban.ok()) return Illegal(ban.status());
        return OkOr<v1::BanResponse>(source->Ban(now, *std::move(ban)));
      }));
  methods.push_back(
      Method<v1::UnbanRequest>("Unban", [source](Time now, const v1::UnbanRequest& request) {
        const absl::StatusOr<NodeKey> key = ParseKey("peer", request.peer());
        if (!key.ok()) return Illegal(key.status());
        return OkOr<v1::UnbanResponse>(source->Unban(now, *key));
      }));
  methods.push_back(
      Method<v1::ListBansRequest>("ListBans", [source](Time now, const v1::ListBansRequest&) {
        return InParts(source->ListBans(now), &v1::ListBansPart::add_bans);
      }));
  methods.push_back(Method<v1::TraceTransactionRequest>(
      "TraceTransaction", [source](Time now, const v1::TraceTransactionRequest& request) {
        const auto hash = ParseHash<TxHash>(request.hash());
        return hash.ok() ? Whole(source->TraceTransaction(now, *hash)) : Illegal(hash.status());
      }));
  methods.push_back(Method<v1::TraceSetRequest>(
      "TraceSet", [source](Time now, const v1::TraceSetRequest& request) {
        const auto hash = ParseHash<SetHash>(request.hash());
        if (!hash.ok()) return Illegal(hash.status());
        switch (request.kind()) {
          case v1::SET_KIND_TX_SET:
            return Whole(source->TraceSet(now, {SetKind::kTxSet, *hash}));
          case v1::SET_KIND_QUORUM_SET:
            return Whole(source->TraceSet(now, {SetKind::kQuorumSet, *hash}));
          default:
            return Illegal(absl::InvalidArgumentError(
                fmt::format("kind: {}, expected SET_KIND_TX_SET or SET_KIND_QUORUM_SET",
                            static_cast<int>(request.kind()))));
        }
      }));
  methods.push_back(Method<v1::DrainRequest>("Drain", [source](Time now, const v1::DrainRequest&) {
    v1::DrainResponse response;
    response.set_within_ms(static_cast<uint32_t>(ToMicros(source->DrainNow(now)) / 1000));
    return Whole(response);
  }));
  methods.push_back(Method<v1::SetLogLevelRequest>(
      "SetLogLevel", [source](Time, const v1::SetLogLevelRequest& request) {
        std::optional<LogLevel> level;
        if (request.has_level() && !(level = LogLevelFromName(request.level()))) {
          return Illegal(absl::InvalidArgumentError(
              fmt::format("level: \"{}\" is not legal, expected {}", request.level().substr(0, 64),
                          kLogLevelsLegal)));
        }
        v1::SetLogLevelResponse response;
        response.set_level(std::string(LogLevelName(source->SetLogLevel(level))));
        return Whole(response);
      }));
  return methods;
}

}  // namespace overlay::server
