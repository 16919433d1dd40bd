#include "server/tx_sets_call.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace overlay::server {
namespace {

template <class Message>
void SetKeyOf(const SetKey& key, Message* message) {
  message->set_kind(ToSetKind(key.kind));
  message->set_hash(ToBytes(key.hash.view()));
}

}  // namespace

void TxSetsCall::OnOpened(Time now) {
  if (session_->tx_sets != nullptr) {
    call_.Finish(
        {grpc::StatusCode::ALREADY_EXISTS, "TxSets: this session has its TxSets call already"});
    return;
  }
  session_->tx_sets = this;
  Pump(now);
}

void TxSetsCall::OnClosed(Time now) {
  if (session_->tx_sets != this) return;
  session_->tx_sets = nullptr;
  GiveUpAll(now);
}

void TxSetsCall::OnHalfClosed(Time now) {
  half_closed_ = true;
  if (session_ == nullptr || session_->tx_sets != this) return;
  session_->tx_sets = nullptr;
  GiveUpAll(now);
  call_.Finish(grpc::Status::OK);
}

void TxSetsCall::GiveUpAll(Time now) {
  for (const auto& [key, offer] : std::exchange(offers_, {})) {
    if (!offer.answered) DiscardOffer(now, key, offer.total_bytes);
  }
  for (const auto& [key, since] : std::exchange(fetches_, {})) {
    sessions_.node().OnCoreInput(now, flood::CancelFetch{key});
  }
}

void TxSetsCall::DiscardOffer(Time now, const SetKey& key, uint64_t total_bytes) {
  // A chunk beyond the end is a gap, and a gap discards the offer and its promise.
  flood::OfferChunk chunk;
  chunk.key = key;
  chunk.total_bytes = total_bytes;
  chunk.offset = total_bytes + 1;
  sessions_.node().OnCoreInput(now, std::move(chunk));
}

void TxSetsCall::OnMessage(Time now, const grpc::ByteBuffer& message) {
  if (session_ == nullptr) return;
  SessionCounters& counters = sessions_.mutable_counters();
  ++counters.set_messages_up;
  counters.set_bytes_up += message.Length();
  v1::TxSetsUp up;
  if (!Decode(message, &up)) {
    ++counters.refused_malformed;
    FinishNotProtobuf("TxSetsUp");
    return;
  }
  if (session_->observer && up.message_case() != v1::TxSetsUp::MESSAGE_NOT_SET) {
    Refuse(now, MakeError(grpc::StatusCode::PERMISSION_DENIED, "message", "of an observer",
                          "nothing: observers read"));
  } else {
    switch (up.message_case()) {
      case v1::TxSetsUp::kOffer:
        OnOffer(now, up.offer());
        break;
      case v1::TxSetsUp::kFetch:
        OnFetch(now, up.fetch());
        break;
      case v1::TxSetsUp::kCancel:
        OnCancel(now, up.cancel());
        break;
      case v1::TxSetsUp::MESSAGE_NOT_SET:
        Refuse(now, MakeError(grpc::StatusCode::INVALID_ARGUMENT, "message", "not set",
                              "offer, fetch or cancel"));
        break;
    }
  }
  Pump(now);
}

std::optional<SetKey> TxSetsCall::ReadKey(Time now, const std::string& field, v1::SetKind kind,
                                          const std::string& hash) {
  if (kind != v1::SET_KIND_TX_SET && kind != v1::SET_KIND_QUORUM_SET) {
    Refuse(now,
           MakeError(grpc::StatusCode::INVALID_ARGUMENT, field + ".kind",
                     fmt::format("{}", static_cast<int>(kind)),
                     "SET_KIND_TX_SET or SET_KIND_QUORUM_SET"),
           v1::SET_KIND_UNSPECIFIED, hash);
    return std::nullopt;
  }
  const std::optional<SetHash> parsed = SetHash::FromBytes(hash);
  if (!parsed || parsed->IsZero()) {
    Refuse(now,
           MakeError(grpc::StatusCode::INVALID_ARGUMENT, field + ".hash", DescribeBytes(hash),
                     "32 bytes, not all of them zero"),
           kind, hash);
    return std::nullopt;
  }
  return SetKey{kind == v1::SET_KIND_TX_SET ? SetKind::kTxSet : SetKind::kQuorumSet, *parsed};
}

void TxSetsCall::OnOffer(Time now, const v1::SetOffer& offer) {
  const std::optional<SetKey> key = ReadKey(now, "offer", offer.kind(), offer.hash());
  if (!key) return;
  const Limits& limits = sessions_.options().limits;
  const uint64_t bytes_max =
      key->kind == SetKind::kTxSet ? limits.tx_set_bytes_max : limits.quorum_set_bytes_max;
  const auto open = offers_.find(*key);
  const bool is_open = open != offers_.end();
  if (is_open && open->second.answered) {
    if (offer.offset() + offer.data().size() >= open->second.total_bytes) offers_.erase(open);
    return;
  }
  const uint64_t wanted_offset = is_open ? open->second.next_offset : 0;
  const uint64_t wanted_total = is_open ? open->second.total_bytes : offer.total_bytes();
  v1::Error error;
  if (!is_open && offer.offset() == 0 && offers_.size() >= limits.core_offers_open_max) {
    error = MakeError(grpc::StatusCode::RESOURCE_EXHAUSTED, "offer",
                      fmt::format("{} offers open", offers_.size()),
                      fmt::format("at most {} open", limits.core_offers_open_max));
  } else if (offer.total_bytes() == 0 || offer.total_bytes() > bytes_max) {
    error = MakeError(grpc::StatusCode::INVALID_ARGUMENT, "offer.total_bytes",
                      fmt::format("{}", offer.total_bytes()), fmt::format("1 to {}", bytes_max));
  } else if (offer.total_bytes() != wanted_total) {
    error = MakeError(grpc::StatusCode::INVALID_ARGUMENT, "offer.total_bytes",
                      fmt::format("{}", offer.total_bytes()),
                      fmt::format("{} as in the chunks before", wanted_total));
  } else if (offer.offset() != wanted_offset) {
    error = MakeError(grpc::StatusCode::INVALID_ARGUMENT, "offer.offset",
                      fmt::format("{}", offer.offset()), fmt::format("{}", wanted_offset));
  } else if (offer.data().empty() || offer.data().size() > kCoreChunkBytesMax) {
    error = MakeError(grpc::StatusCode::INVALID_ARGUMENT, "offer.data", DescribeBytes(offer.data()),
                      fmt::format("1 to {} bytes", kCoreChunkBytesMax));
  } else if (offer.data().size() > offer.total_bytes() - offer.offset()) {
    error = MakeError(
        grpc::StatusCode::INVALID_ARGUMENT, "offer.data", DescribeBytes(offer.data()),
        fmt::format("at most the {} bytes that are missing", offer.total_bytes() - offer.offset()));
  }
  if (error.code() != 0) {
    if (is_open) {
      offers_.erase(open);
      DiscardOffer(now, *key, wanted_total);
    }
    Refuse(now, std::move(error), offer.kind(), offer.hash());
    return;
  }
  OpenOffer& state = offers_[*key];
  state.total_bytes = offer.total_bytes();
  state.next_offset = offer.offset() + offer.data().size();
  flood::OfferChunk chunk;
  chunk.key = *key;
  if (offer.has_slot()) chunk.slot = LedgerSeq{offer.slot()};
  chunk.total_bytes = offer.total_bytes();
  chunk.offset = offer.offset();
  chunk.data = Bytes::Copy(std::string_view(offer.data()));
  sessions_.node().OnCoreInput(now, std::move(chunk));
}

void TxSetsCall::OnFetch(Time now, const v1::SetFetch& fetch) {
  const std::optional<SetKey> key = ReadKey(now, "fetch", fetch.kind(), fetch.hash());
  if (!key) return;
  v1::Error error;
  flood::FetchSet input;
  input.key = *key;
  if (fetch.has_slot()) input.slot = LedgerSeq{fetch.slot()};
  input.sources = std::max<uint32_t>(fetch.sources(), 1);
  input.until_cancelled = fetch.until_cancelled();
  if (fetch.sources() > 3) {
    error = MakeError(grpc::StatusCode::INVALID_ARGUMENT, "fetch.sources",
                      fmt::format("{}", fetch.sources()), "0 to 3");
  } else if (fetch.peers_size() > kFetchPeersMax) {
    error = MakeError(grpc::StatusCode::INVALID_ARGUMENT, "fetch.peers",
                      fmt::format("{} entries", fetch.peers_size()),
                      fmt::format("at most {} entries", kFetchPeersMax));
  } else if (fetches_.size() >= kFetchesOpenMax && !fetches_.contains(*key)) {
    error = MakeError(grpc::StatusCode::RESOURCE_EXHAUSTED, "fetch",
                      fmt::format("{} fetches open", fetches_.size()),
                      fmt::format("at most {} open", kFetchesOpenMax));
  }
  for (int i = 0; i < fetch.peers_size() && error.code() == 0; ++i) {
    const std::optional<NodeKey> peer = NodeKey::FromBytes(fetch.peers(i));
    if (!peer) {
      error = MakeError(grpc::StatusCode::INVALID_ARGUMENT, fmt::format("fetch.peers[{}]", i),
                        DescribeBytes(fetch.peers(i)), "32 bytes");
    } else {
      input.peers.push_back(*peer);
    }
  }
  if (error.code() != 0) {
    Refuse(now, std::move(error), fetch.kind(), fetch.hash());
    return;
  }
  fetches_.emplace(*key, now);
  sessions_.node().OnCoreInput(now, std::move(input));
}

void TxSetsCall::OnCancel(Time now, const v1::SetCancel& cancel) {
  const std::optional<SetKey> key = ReadKey(now, "cancel", cancel.kind(), cancel.hash());
  if (!key) return;
  if (!fetches_.contains(*key)) {
    Refuse(now,
           MakeError(grpc::StatusCode::NOT_FOUND, "cancel.hash", DescribeBytes(cancel.hash()),
                     "the hash of a fetch under way"),
           cancel.kind(), cancel.hash());
    return;
  }
  sessions_.node().OnCoreInput(now, flood::CancelFetch{*key});
}

void TxSetsCall::OnOutput(Time now, const flood::Offered& offered) {
  const auto open = offers_.find(offered.key);
  if (open == offers_.end()) return;
  if (open->second.next_offset == open->second.total_bytes) {
    offers_.erase(open);
  } else {
    open->second.answered = true;
  }
  v1::TxSetsDown down;
  SetKeyOf(offered.key, down.mutable_offered());
  SendDown(now, down);
}

void TxSetsCall::OnOutput(Time now, const flood::SetAvailable& available) {
  const auto fetch = fetches_.find(available.key);
  if (fetch == fetches_.end()) return;
  if (sessions_.options().stats != nullptr)
    sessions_.options().stats->set_fetch.Add(now - fetch->second);
  fetches_.erase(fetch);
  if (!sending_.empty() && sending_bytes_ + available.bytes.size() > kStreamBytesMax) {
    SendNoRoom(now, available.key);
    return;
  }
  sending_bytes_ += available.bytes.size();
  sending_.push_back({available.key, available.bytes, available.peers, 0});
  Pump(now);
}

void TxSetsCall::OnOutput(Time now, const flood::FetchProgress& progress) {
  if (!fetches_.contains(progress.key)) return;
  v1::TxSetsDown down;
  v1::SetProgress* out = down.mutable_progress();
  SetKeyOf(progress.key, out);
  out->set_received_bytes(progress.received_bytes);
  out->set_total_bytes(progress.total_bytes);
  out->set_sources_asked(progress.sources_asked);
  out->set_sources_not_found(progress.sources_not_found);
  SendDown(now, down);
}

void TxSetsCall::OnOutput(Time now, const flood::FetchFailed& failed) {
  if (fetches_.erase(failed.key) == 0) return;
  v1::TxSetsDown down;
  switch (failed.reason) {
    case flood::FetchFailure::kExpired:
      SetKeyOf(failed.key, down.mutable_failed());
      down.mutable_failed()->set_reason(v1::SetFailed::REASON_EXPIRED);
      break;
    case flood::FetchFailure::kTooLarge:
      SetKeyOf(failed.key, down.mutable_failed());
      down.mutable_failed()->set_reason(v1::SetFailed::REASON_TOO_LARGE);
      break;
    case flood::FetchFailure::kCancelled:
      SetKeyOf(failed.key, down.mutable_cancelled());
      break;
    case flood::FetchFailure::kNoRoom:
      SendNoRoom(now, failed.key);
      return;
  }
  SendDown(now, down);
}

void TxSetsCall::SendNoRoom(Time now, const SetKey& key) {
  v1::TxSetsDown down;
  SetKeyOf(key, down.mutable_failed());
  down.mutable_failed()->set_reason(v1::SetFailed::REASON_NO_ROOM);
  SendDown(now, down);
}

void TxSetsCall::OnRefused(Time now, const flood::CoreRefused& refused) {
  if (refused.key) {
    // Of an offer that was discarded here: the core has been told.
    const bool offer = refused.field.rfind("offer", 0) == 0;
    if (offer && offers_.erase(*refused.key) == 0) return;
    if (!offer) fetches_.erase(*refused.key);
  }
  v1::TxSetsDown down;
  *down.mutable_error() = ToError(refused);
  SendDown(now, down);
}

std::optional<grpc::ByteBuffer> TxSetsCall::Produce() {
  std::optional<grpc::ByteBuffer> message = SessionCall::Produce();
  if (!message && !sending_.empty()) {
    Sending& set = sending_.front();
    v1::SetAvailable head;
    SetKeyOf(set.key, &head);
    head.set_offset(set.offset);
    head.set_total_bytes(set.bytes.size());
    if (set.offset == 0) {
      for (const NodeKey& peer : set.peers) head.add_peers(ToBytes(peer.view()));
    }
    const Bytes chunk = set.bytes.Slice(set.offset, kCoreChunkBytesMax);
    message = EncodeWithPayload(head, v1::TxSetsDown::kAvailableFieldNumber,
                                v1::SetAvailable::kDataFieldNumber, chunk);
    set.offset += chunk.size();
    sending_bytes_ -= chunk.size();
    if (set.offset >= set.bytes.size()) sending_.pop_front();
  }
  if (message) {
    ++sessions_.mutable_counters().set_messages_down;
    sessions_.mutable_counters().set_bytes_down += message->Length();
  }
  return message;
}

void TxSetsCall::Refuse(Time now, v1::Error error, v1::SetKind kind, const std::string& hash) {
  ++sessions_.mutable_counters().errors_answered;
  error.set_set_kind(kind);
  if (hash.size() == kHashBytes) error.set_hash(hash);
  v1::TxSetsDown down;
  *down.mutable_error() = std::move(error);
  SendDown(now, down);
}

void TxSetsCall::SendDown(Time now, const v1::TxSetsDown& down) {
  if (session_ == nullptr) return;
  Send(now, Encode(down));
}

}  // namespace overlay::server
