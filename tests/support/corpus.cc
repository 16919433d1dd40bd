#include "tests/support/corpus.h"

#include <zlib.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "flood/base/check.h"
#include "flood/base/crypto.h"
#include "fmt/format.h"
#include "tests/support/xdr_builder.h"

namespace overlay {
namespace {

constexpr std::string_view kScpFile = "pubnet-archive-scp-boundary.scp-envelopes.xdr.gz";
constexpr std::string_view kTxFile = "pubnet-63092982-63093001.tx-envelopes.xdr.gz";
constexpr std::string_view kSetFile = "pubnet-63092982-63093001.generalized-tx-sets.xdr.gz";

constexpr uint64_t kGeneratorSeed = 63'092'982;
constexpr size_t kSlots = 210;
constexpr size_t kNodes = 12;

[[noreturn]] void Die(const std::string& message) {
  fmt::print(stderr, "corpus: {}\n", message);
  std::abort();
}

std::vector<Bytes> ReadExpecting(std::string_view name, size_t count) {
  std::vector<Bytes> records = ReadCorpusFile(name);
  if (records.size() != count) {
    Die(fmt::format("{} has {} records, expected {}", name, records.size(), count));
  }
  return records;
}

struct GeneratedSets {
  std::vector<Bytes> transactions;
  std::vector<Bytes> sets;
};

const GeneratedSets& Generated() {
  static const GeneratedSets* const generated = [] {
    auto* made = new GeneratedSets;
    XdrBuilder builder(kGeneratorSeed, CorpusNetwork());
    for (size_t i = 0; i < kCorpusTxSets; ++i) {
      const size_t begin = kCorpusTransactions * i / kCorpusTxSets;
      const size_t end = kCorpusTransactions * (i + 1) / kCorpusTxSets;
      std::vector<Bytes> transactions = builder.Transactions(end - begin);
      made->transactions.insert(made->transactions.end(), transactions.begin(), transactions.end());
      made->sets.push_back(builder.TxSetOf(std::move(transactions)));
    }
    return made;
  }();
  return *generated;
}

std::vector<Bytes> GeneratedEnvelopes() {
  XdrBuilder builder(kGeneratorSeed, CorpusNetwork());
  std::vector<Bytes> envelopes;
  // The archive's own statement mix (1,145 PREPARE, 626 CONFIRM, 199 EXTERNALIZE) over its slots
  // and nodes.
  for (size_t i = 0; i < kCorpusScpEnvelopes; ++i) {
    const StatementKind kind = i < 1145   ? StatementKind::kPrepare
                               : i < 1771 ? StatementKind::kConfirm
                                          : StatementKind::kExternalize;
    envelopes.push_back(builder.Envelope(kind, LedgerSeq{1 + i % kSlots}, i % kNodes));
  }
  return envelopes;
}

}  // namespace

std::string CorpusFolder() {
  const char* folder = std::getenv("OVERLAY_CORPUS");
  return folder != nullptr ? folder : OVERLAY_DEFAULT_CORPUS;
}

bool CorpusPresent() { return std::filesystem::is_directory(CorpusFolder()); }

std::vector<Bytes> ReadCorpusFile(std::string_view name) {
  const std::string path = fmt::format("{}/{}", CorpusFolder(), name);
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (file == nullptr) Die("cannot open " + path);
  std::string data;
  std::array<char, 1 << 16> chunk;
  int got = 0;
  while ((got = gzread(file.get(), chunk.data(), chunk.size())) > 0) data.append(chunk.data(), got);
  if (got < 0) Die("cannot inflate " + path);
  return SplitRecords(Bytes::Take(std::move(data)));
}

std::vector<Bytes> SplitRecords(const Bytes& data) {
  std::vector<Bytes> records;
  size_t at = 0;
  while (at < data.size()) {
    if (data.size() - at < 4) Die("a record mark is cut off");
    uint32_t mark = 0;
    for (size_t i = 0; i < 4; ++i) mark = mark << 8 | data.data()[at + i];
    const size_t length = mark & 0x7fffffff;
    if ((mark & 0x80000000) == 0) Die("a record mark has no top bit");
    if (length > data.size() - at - 4) Die("a record is cut off");
    // Copied, so that a record that a test keeps does not keep the whole file.
    records.push_back(Bytes::Copy(data.span().subspan(at + 4, length)));
    at += 4 + length;
  }
  return records;
}

const std::vector<Bytes>& CorpusScpEnvelopes() {
  static const auto* const envelopes = new std::vector<Bytes>(
      CorpusPresent() ? ReadExpecting(kScpFile, kCorpusScpEnvelopes) : GeneratedEnvelopes());
  return *envelopes;
}

const std::vector<Bytes>& CorpusTransactions() {
  static const auto* const transactions = new std::vector<Bytes>(
      CorpusPresent() ? ReadExpecting(kTxFile, kCorpusTransactions) : Generated().transactions);
  return *transactions;
}

const std::vector<Bytes>& CorpusTxSets() {
  static const auto* const sets = new std::vector<Bytes>(
      CorpusPresent() ? ReadExpecting(kSetFile, kCorpusTxSets) : Generated().sets);
  return *sets;
}

NetworkId CorpusNetwork() { return NetworkIdOf(kPublicNetworkPassphrase); }

}  // namespace overlay
