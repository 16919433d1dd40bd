#include "client-sdk/demo-core/tx_source.h"

#include <fmt/format.h>
#include <zlib.h>

#include <array>
#include <memory>
#include <optional>
#include <utility>

#include "client-sdk/xdr/transaction.h"
#include "client-sdk/xdr/transaction_reader.h"
#include "client-sdk/xdr/xdr_reader.h"

namespace overlay::demo {
namespace {

constexpr size_t kFileBytesMax = 64 << 20;
constexpr uint32_t kRecordBytesMax = 256 << 10;
constexpr uint32_t kRecordMark = 0x80000000;
constexpr uint64_t kAccounts = 64;

absl::Span<const uint8_t> SpanOf(const std::string& bytes) {
  return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

void SkipMuxedAccount(xdr::XdrReader& in) {
  if (in.U32() == 0x100) in.U64();
  in.Fixed(kHashBytes);
}

// Where the sequence number stands; the envelope may be anything.
std::optional<size_t> SequenceOffset(const std::string& envelope) {
  xdr::XdrReader in(SpanOf(envelope));
  uint32_t type = in.U32();
  if (type == 5) {  // a fee bump: its source and fee, then the inner envelope
    SkipMuxedAccount(in);
    in.I64();
    type = in.U32();
  }
  if (type == 2) {
    SkipMuxedAccount(in);
  } else {  // the old envelope
    in.Fixed(kHashBytes);
  }
  in.U32();  // the fee
  return in.ok() && in.remaining() >= 8 ? std::optional(in.position()) : std::nullopt;
}

absl::StatusOr<std::string> Unpack(const std::string& path) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (file == nullptr) return absl::NotFoundError(fmt::format("cannot open {}", path));
  std::string data;
  std::array<char, 1 << 16> chunk;
  int got = 0;
  while ((got = gzread(file.get(), chunk.data(), chunk.size())) > 0) {
    data.append(chunk.data(), static_cast<size_t>(got));
    if (data.size() > kFileBytesMax) {
      return absl::ResourceExhaustedError(
          fmt::format("{}: more than {} bytes", path, kFileBytesMax));
    }
  }
  if (got < 0) return absl::DataLossError(fmt::format("cannot unpack {}", path));
  return data;
}

std::string Generate(uint64_t number, int64_t sequence, const NetworkId& network) {
  SecretSeed source;
  source.bytes[0] = static_cast<uint8_t>(1 + number % kAccounts);
  if (number % 10 == 9) {  // as on the network, one in ten is large
    const xdr::ContractUpload upload{.source = source,
                                     .sequence = sequence,
                                     .fee = 20'000,
                                     .resource_fee = 10'000,
                                     .code_bytes = 1000 + number % 5 * 1000};
    return std::string(xdr::BuildContractUpload(upload, network).view());
  }
  xdr::Payment payment;
  payment.source = source;
  payment.sequence = sequence;
  payment.operations = static_cast<int>(1 + number % 4);
  payment.fee = static_cast<uint32_t>(payment.operations) * (100 + number % 900);
  payment.destination = AccountKey{PublicKeyOf(source).bytes};
  return std::string(xdr::BuildPayment(payment, network).view());
}

}  // namespace

bool SetSequence(std::string& envelope, int64_t sequence) {
  const std::optional<size_t> offset = SequenceOffset(envelope);
  if (!offset) return false;
  for (size_t i = 0; i < 8; ++i) {
    envelope[*offset + i] = static_cast<char>(static_cast<uint64_t>(sequence) >> (56 - 8 * i));
  }
  const std::optional<xdr::TransactionFacts> facts = xdr::ReadTransaction(SpanOf(envelope));
  return facts && facts->sequence == sequence;
}

absl::StatusOr<TxSource> TxSource::Open(const Options& options) {
  TxSource source(options);
  if (options.file.empty()) return source;
  absl::StatusOr<std::string> data = Unpack(options.file);
  if (!data.ok()) return data.status();
  xdr::XdrReader in(SpanOf(*data));
  while (in.remaining() > 0) {
    const uint32_t mark = in.U32();
    const uint32_t size = mark & ~kRecordMark;
    if ((mark & kRecordMark) == 0 || size > kRecordBytesMax || size % 4 != 0) in.Fail();
    const absl::Span<const uint8_t> record = in.Fixed(in.ok() ? size : 0);
    if (!in.ok() || !xdr::ReadTransaction(record)) {
      return absl::DataLossError(
          fmt::format("{}: record {} is no transaction", options.file, source.records_.size()));
    }
    source.records_.emplace_back(reinterpret_cast<const char*>(record.data()), record.size());
  }
  if (source.records_.empty()) return absl::DataLossError(fmt::format("{}: empty", options.file));
  return source;
}

std::string TxSource::Next() {
  const uint64_t number = number_;
  number_ += options_.stride;
  const int64_t sequence = options_.sequence_base + static_cast<int64_t>(number);
  if (records_.empty()) return Generate(number, sequence, options_.network);
  std::string envelope = records_[number % records_.size()];
  SetSequence(envelope, sequence);
  return envelope;
}

}  // namespace overlay::demo
