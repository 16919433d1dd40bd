// client-sdk/demo-core/tx_source.h
//
// Transactions to submit: real ones from a file of the corpus, each made unique by its sequence
// number, or generated ones.
//
//   R1  No two transactions of a network are equal: number n of the source has sequence number
//       `sequence_base` + n, and the sources of a network share out the numbers (`first`,
//       `stride`). A changed sequence number makes the real signatures void; a demo core does not
//       check them.
//
// Bounds: a file of 64 MiB unpacked; records over 256 KiB are refused. Threads: one.
#ifndef OVERLAY_CLIENT_SDK_DEMO_CORE_TX_SOURCE_H_
#define OVERLAY_CLIENT_SDK_DEMO_CORE_TX_SOURCE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "flood/base/bytes.h"
#include "flood/base/ids.h"

namespace overlay::demo {

// The same transaction with another sequence number. False: `envelope` is none.
bool SetSequence(std::string& envelope, int64_t sequence);

class TxSource {
 public:
  struct Options {
    std::string file;  // of records (.xdr.gz); empty: generated
    uint64_t first = 0;
    uint64_t stride = 1;
    int64_t sequence_base = 1;
    NetworkId network;
  };

  static absl::StatusOr<TxSource> Open(const Options& options);

  std::string Next();

 private:
  explicit TxSource(const Options& options) : options_(options), number_(options.first) {}

  Options options_;
  uint64_t number_;
  std::vector<std::string> records_;  // empty: generated
};

}  // namespace overlay::demo

#endif  // OVERLAY_CLIENT_SDK_DEMO_CORE_TX_SOURCE_H_
