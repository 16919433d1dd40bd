// server/transactions_call.h
//
// Transactions: submissions and verdicts up; results and peers' transactions down, in batches.
//
// Rules
//   R1  Numbers rise over the whole session; one that does not is answered with OUT_OF_RANGE and
//       has no effect.
//   R2  With kSubmissionsUnansweredMax unanswered the call is not read until some are answered.
//   R3  The node is given room for kTransactionsWindow transactions, and for more when those have
//       been taken.
//   R4  What comes in one turn of the loop leaves as one message: a message costs 20 times a
//       transaction.
#ifndef OVERLAY_SERVER_TRANSACTIONS_CALL_H_
#define OVERLAY_SERVER_TRANSACTIONS_CALL_H_

#include <deque>

#include "server/session_call.h"

namespace overlay::server {

inline constexpr uint32_t kSubmissionsUnansweredMax = 10'000;
inline constexpr uint32_t kBatchEntriesMax = 1000;
// Of a batch down. A core judges batch by batch, and what is judged at once is one turn's work;
// larger ones are hardly cheaper a transaction.
inline constexpr uint32_t kDeliveredEntriesMax = 64;
inline constexpr uint32_t kTransactionsWindow = 2000;

// Reads a bid given with a submission or verdict; `field` names it in what is wrong. False: `error`
// says what.
bool ReadBid(const v1::Bid& bid, const std::string& field, std::optional<flood::Bid>* out,
             v1::Error* error);

class TransactionsCall : public SessionCall {
 public:
  using SessionCall::SessionCall;

  void OnMessage(Time now, const grpc::ByteBuffer& message) override;
  void OnHalfClosed(Time now) override;
  size_t queued_bytes() const override {
    return out_.bytes() + results_.size() * sizeof(flood::SubmitResult) + transaction_bytes_;
  }

  void OnResult(flood::SubmitResult result);
  void Deliver(flood::DeliverTransaction delivered);
  void DeliverToObserver(Time now, const flood::DeliverTransaction& delivered);
  void OnRefused(Time now, const flood::CoreRefused& refused);
  // Writes what this turn brought.
  void OnTurn(Time now) { Pump(now); }

 protected:
  void OnOpened(Time now) override;
  void OnClosed(Time now) override;
  void OnTaken(Time now) override;
  std::optional<grpc::ByteBuffer> Produce() override;
  bool MayRead() const override;

 private:
  void OnSubmit(Time now, const v1::SubmitBatch& batch);
  void OnVerdicts(Time now, const v1::VerdictBatch& batch);
  // R1. False: refused.
  bool TakeNumber(Time now, uint64_t number, const std::string& field);
  void Refuse(Time now, v1::Error error, std::optional<uint64_t> id = std::nullopt);

  std::deque<flood::SubmitResult> results_;             // bounded by R2
  std::deque<flood::DeliverTransaction> transactions_;  // bounded by R3
  size_t transaction_bytes_ = 0;                        // of transactions_
  uint32_t taken_with_write_ = 0;                       // transactions in the message being written
  bool half_closed_ = false;
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_TRANSACTIONS_CALL_H_
