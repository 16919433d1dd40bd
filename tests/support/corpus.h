// tests/support/corpus.h
//
// The payloads that tests run on: real network data where the corpus folder is there
// ($OVERLAY_CORPUS, or ../shared/corpus beside the checkout), else data of the same numbers and
// shapes from XdrBuilder. So no test is skipped where the folder is absent, and a count that a test
// asserts holds in both cases.
//
//   R1  A corpus that is there is read whole or the test dies: a missing file, a broken record or
//       another number of records than the constants below is never passed over.
#ifndef OVERLAY_TESTS_SUPPORT_CORPUS_H_
#define OVERLAY_TESTS_SUPPORT_CORPUS_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "flood/base/bytes.h"
#include "flood/base/ids.h"

namespace overlay {

inline constexpr size_t kCorpusScpEnvelopes = 1970;
inline constexpr size_t kCorpusTransactions = 5188;
inline constexpr size_t kCorpusTxSets = 20;

inline constexpr std::string_view kPublicNetworkPassphrase =
    "Public Global Stellar Network ; September 2015";
inline constexpr std::string_view kTestNetworkPassphrase = "Test SDF Network ; September 2015";

// Whether the folder is there.
bool CorpusPresent();
std::string CorpusFolder();

// The records of one `.xdr.gz` file of the folder (`testnet-scp/scp-0000053f.xdr.gz`, say).
std::vector<Bytes> ReadCorpusFile(std::string_view name);

// Splits records: each a big-endian word, its top bit set and the rest the length, and the XDR.
// Dies on anything else.
std::vector<Bytes> SplitRecords(const Bytes& data);

// Read or generated once in a process, then shared. Envelopes are signed under `CorpusNetwork()`,
// which is the public network's in both cases. Each transaction is in one of the sets.
const std::vector<Bytes>& CorpusScpEnvelopes();
const std::vector<Bytes>& CorpusTransactions();
const std::vector<Bytes>& CorpusTxSets();
NetworkId CorpusNetwork();

}  // namespace overlay

#endif  // OVERLAY_TESTS_SUPPORT_CORPUS_H_
