// server/tx_sets_call.h
//
// TxSets: offers and fetches of tx sets and quorum sets, in chunks.
//
// Rules
//   R1  Offers open and fetches under way are known here by their key, so that each is answered
//       once, limits are refused by name, and both are given up when the call ends.
//   R2  A fetched set is written in chunks straight from the cache's buffer: shared, never copied.
//   R3  Sets that wait to be written are bounded like every stream (kStreamBytesMax, or one set);
//       with half of it the call is not read on, and what is over it fails for want of room: fetch
//       again. Why: sets that have left the cache stay in memory while they wait here.
//
// Bounds   core_offers_open_max offers, kFetchesOpenMax fetches, R3.
#ifndef OVERLAY_SERVER_TX_SETS_CALL_H_
#define OVERLAY_SERVER_TX_SETS_CALL_H_

#include <deque>
#include <map>

#include "server/session_call.h"

namespace overlay::server {

inline constexpr uint32_t kFetchesOpenMax = 65'536;
inline constexpr int kFetchPeersMax = 16;

class TxSetsCall : public SessionCall {
 public:
  using SessionCall::SessionCall;

  void OnMessage(Time now, const grpc::ByteBuffer& message) override;
  void OnHalfClosed(Time now) override;
  size_t queued_bytes() const override { return out_.bytes() + sending_bytes_; }

  void OnOutput(Time now, const flood::Offered& offered);
  void OnOutput(Time now, const flood::SetAvailable& available);
  void OnOutput(Time now, const flood::FetchProgress& progress);
  void OnOutput(Time now, const flood::FetchFailed& failed);
  void OnRefused(Time now, const flood::CoreRefused& refused);

 protected:
  void OnOpened(Time now) override;
  void OnClosed(Time now) override;
  std::optional<grpc::ByteBuffer> Produce() override;
  bool MayRead() const override {
    return !half_closed_ && !out_.is_half_full() && sending_bytes_ < kStreamBytesMax / 2 &&
           sending_.size() < kStreamMessagesMax / 2;
  }

 private:
  struct OpenOffer {
    uint64_t next_offset = 0;
    uint64_t total_bytes = 0;
    bool answered = false;  // the set was there already: the rest of its chunks is ignored
  };
  struct Sending {
    SetKey key;
    Bytes bytes;
    std::vector<NodeKey> peers;
    size_t offset = 0;
  };

  // nullopt: refused.
  std::optional<SetKey> ReadKey(Time now, const std::string& field, v1::SetKind kind,
                                const std::string& hash);
  void OnOffer(Time now, const v1::SetOffer& offer);
  void OnFetch(Time now, const v1::SetFetch& fetch);
  void OnCancel(Time now, const v1::SetCancel& cancel);
  // The node drops what it has of it; the core has been told why.
  void DiscardOffer(Time now, const SetKey& key, uint64_t total_bytes);
  void GiveUpAll(Time now);
  // Kind and hash of the set that is refused, where they could be read.
  void Refuse(Time now, v1::Error error, v1::SetKind kind = v1::SET_KIND_UNSPECIFIED,
              const std::string& hash = "");
  void SendDown(Time now, const v1::TxSetsDown& down);
  void SendNoRoom(Time now, const SetKey& key);

  std::map<SetKey, OpenOffer> offers_;
  std::map<SetKey, Time> fetches_;  // since when
  std::deque<Sending> sending_;
  size_t sending_bytes_ = 0;  // not yet written, of sending_
  bool half_closed_ = false;
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_TX_SETS_CALL_H_
