// server/unary_calls.h
//
// The calls of service Core with one answer, and TopTransactions, which is one answer in parts.
#ifndef OVERLAY_SERVER_UNARY_CALLS_H_
#define OVERLAY_SERVER_UNARY_CALLS_H_

#include <deque>
#include <string>
#include <vector>

#include "server/session_call.h"

namespace overlay::server {

inline constexpr uint32_t kPeerEntriesMax = 1000;
inline constexpr size_t kPeerEntriesBytesMax = 128 * kKiB;
inline constexpr size_t kExternalizedPerPartMax = 4096;
inline constexpr size_t kExternalizedHashesMax = 1'000'000;
// Of one session: more wait for the fence, or for their snapshot, than any core has use for.
inline constexpr size_t kTopQueriesOpenMax = 64;

// One request, then the answer.
class UnaryCall : public SessionCall {
 public:
  using SessionCall::SessionCall;
  void OnMessage(Time now, const grpc::ByteBuffer& message) final;
  void OnHalfClosed(Time now) override;

 protected:
  void OnOpened(Time now) override;
  virtual void OnRequest(Time now, const grpc::ByteBuffer& message) = 0;
  // True: allowed. Else the call has been finished.
  bool RefuseObserver();

 private:
  bool asked_ = false;
};

class LedgerClosedCall : public UnaryCall {
 public:
  using UnaryCall::UnaryCall;

 protected:
  void OnRequest(Time now, const grpc::ByteBuffer& message) override;
};

class SetPeersCall : public UnaryCall {
 public:
  using UnaryCall::UnaryCall;
  void OnConfigured(const flood::PeersConfigured& configured);

 protected:
  void OnRequest(Time now, const grpc::ByteBuffer& message) override;
  void OnClosed(Time now) override;

 private:
  v1::SetPeersResponse response_;
  // Where the node's answers belong: index into known, or -1 - index into preferred.
  std::vector<int> places_;
};

class TxSetExternalizedCall : public SessionCall {
 public:
  using SessionCall::SessionCall;
  void OnMessage(Time now, const grpc::ByteBuffer& message) override;
  void OnHalfClosed(Time now) override;
  void OnApplied(const flood::ExternalizedApplied& applied);

 protected:
  void OnOpened(Time now) override;
  void OnClosed(Time now) override;

 private:
  bool first_ = true;
  flood::TxSetExternalized input_;
};

class TopTransactionsCall : public UnaryCall {
 public:
  using UnaryCall::UnaryCall;
  void OnSnapshot(Time now, flood::TopSnapshot snapshot);
  size_t queued_bytes() const override { return out_.bytes() + snapshot_bytes_; }
  uint64_t fence() const { return fence_; }
  // The fence has been reached.
  void Ask(Time now);

 protected:
  void OnRequest(Time now, const grpc::ByteBuffer& message) override;
  void OnClosed(Time now) override;
  void OnTaken(Time now) override;
  std::optional<grpc::ByteBuffer> Produce() override;

 private:
  flood::TopQuery query_;
  uint64_t fence_ = 0;
  bool have_snapshot_ = false;
  bool wrote_part_ = false;
  uint64_t applied_number_ = 0;
  std::vector<flood::TopTransaction> transactions_;
  size_t snapshot_bytes_ = 0;  // of transactions_, held until the call ends
  size_t next_ = 0;
};

// Asks for the snapshots of those calls whose fence the session's numbers have reached.
void ReleaseFencedTops(Time now, CoreSessions& sessions, CoreSession* session);

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_UNARY_CALLS_H_
