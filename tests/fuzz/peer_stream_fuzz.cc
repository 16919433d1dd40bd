// Links: overlay_transport overlay_transport_test_support
//
// What a peer may send on its streams: any bytes, cut anywhere, on any number of streams. Three
// parts, chosen by the first byte: the answer readers give the same however the bytes are cut; the
// budget of incomplete envelopes holds and each envelope comes out as it went in; a whole transport
// survives a peer that writes the input on its streams after an honest Hello.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "flood/base/check.h"
#include "tests/fuzz/second_model.h"
#include "tests/support/peer_net.h"
#include "transport/answer_reader.h"
#include "transport/inbound_envelopes.h"

namespace overlay::transport {
namespace {

using namespace std::chrono_literals;

// ---- readers: cut anywhere, the same result
// --------------------------------------------------------

struct Result {
  ReadStep step = ReadStep::kMore;
  std::string out;
};

bool IsOver(ReadStep step) { return step != ReadStep::kMore; }

GetData ThreeHashes() {
  GetData data;
  data.hashes.resize(3);
  return data;
}

template <class Feed>
Result FeedInPieces(absl::Span<const uint8_t> bytes, size_t piece, Feed feed) {
  Result result;
  do {
    const auto part = bytes.first(std::min(piece, bytes.size()));
    bytes.remove_prefix(part.size());
    result.step = feed(part, bytes.empty(), result.out);
  } while (!bytes.empty() && !IsOver(result.step));
  return result;
}

Result ReadBodies(absl::Span<const uint8_t> bytes, size_t piece) {
  BodiesReader reader(ThreeHashes(), 1000);
  return FeedInPieces(bytes, piece, [&](auto part, bool fin, std::string& out) {
    std::vector<BodyAnswer> answers;
    const ReadStep step = reader.OnData(part, fin, answers);
    for (const BodyAnswer& answer : answers) {
      out += std::to_string(static_cast<int>(answer.outcome));
      out += answer.body.view();
    }
    OVERLAY_CHECK(reader.buffered_bytes() <= 1000 + kLengthBytes + 1 || IsOver(step));
    return step;
  });
}

Result ReadSet(absl::Span<const uint8_t> bytes, size_t piece) {
  SetRequest request;
  request.accept_zstd = true;
  SetReader reader(request, 5000);
  return FeedInPieces(bytes, piece, [&](auto part, bool fin, std::string& out) {
    std::optional<SetHeader> header;
    Bytes data;
    const ReadStep step = reader.OnData(part, fin, header, data);
    if (header) out += std::to_string(header->total_bytes) + ":";
    // Bytes are handed on as they come: what came before an error depends on the cuts.
    if (step != ReadStep::kMalformed && step != ReadStep::kTooLarge) out += data.view();
    return step;
  });
}

Result ReadState(absl::Span<const uint8_t> bytes, size_t piece) {
  StateReader reader(500, 3000);
  return FeedInPieces(bytes, piece, [&](auto part, bool fin, std::string& out) {
    std::optional<StateHeader> header;
    std::vector<Bytes> envelopes;
    const ReadStep step = reader.OnData(part, fin, header, envelopes);
    if (header) out += std::to_string(header->id) + ":";
    for (const Bytes& envelope : envelopes) out += envelope.view();
    return step;
  });
}

void CheckReaders(FuzzInput input) {
  const uint8_t which = input.Byte() % 3;
  const size_t piece = 1 + input.Byte();
  const auto bytes = input.Take(SIZE_MAX);
  const auto read = which == 0 ? ReadBodies : which == 1 ? ReadSet : ReadState;
  const Result whole = read(bytes, std::max<size_t>(bytes.size(), 1));
  const Result cut = read(bytes, piece);
  const bool erred = whole.step == ReadStep::kMalformed || whole.step == ReadStep::kTooLarge;
  const bool cut_erred = cut.step == ReadStep::kMalformed || cut.step == ReadStep::kTooLarge;
  OVERLAY_CHECK(erred == cut_erred);
  if (!erred) OVERLAY_CHECK(whole.step == cut.step && whole.out == cut.out);
}

// ---- the budget, beside a slow and obvious model
// ---------------------------------------------------

void CheckEnvelopes(FuzzInput input) {
  const InboundEnvelopes::Options options{.envelope_bytes_max = 2000, .budget_bytes = 64 * kKiB};
  InboundEnvelopes real(options);
  std::map<int64_t, std::string> model;  // bytes of streams that are neither complete nor refused
  Time now{};
  using O = InboundEnvelopes::Outcome;
  while (!input.empty()) {
    const int64_t stream = input.Byte() % 16;
    switch (input.Byte() % 5) {
      case 0:
        if (real.IsRefused(stream)) break;
        if (const O outcome = real.OnOpened(stream); outcome == O::kIncomplete) {
          OVERLAY_CHECK(model.emplace(stream, "").second);
        } else if (outcome == O::kOverBudget) {
          OVERLAY_CHECK(model.size() >= 5);  // 6 x 11 KiB are over 64 KiB
          real.OnRefused(stream);
        }
        break;
      case 1:
      case 2: {
        const auto bytes = input.Take(input.Byte() * 4);
        const bool fin = input.Byte() % 2 == 0;
        now += 1ms;
        real.OnPeerData(now);
        Bytes envelope;
        const O outcome = real.OnData(stream, bytes, fin, envelope);
        auto it = model.find(stream);
        OVERLAY_CHECK((it == model.end()) == (outcome == O::kIgnored));
        if (it == model.end()) break;
        it->second.append(bytes.begin(), bytes.end());
        OVERLAY_CHECK((outcome == O::kTooLarge) == (it->second.size() > 2000));
        if (outcome == O::kComplete) OVERLAY_CHECK(envelope.view() == it->second && fin);
        if (outcome == O::kEmpty) OVERLAY_CHECK(it->second.empty() && fin);
        if (outcome == O::kTooLarge || outcome == O::kOverBudget) real.OnRefused(stream);
        if (outcome != O::kIncomplete) model.erase(it);
        break;
      }
      case 3:
        real.OnClosed(stream);
        model.erase(stream);
        break;
      case 4:
        now += std::chrono::seconds(input.Byte());
        real.OnPeerData(now);
        for (int64_t late : real.Expire()) {
          OVERLAY_CHECK(model.erase(late) == 1);
          real.OnRefused(late);
        }
        break;
    }
    OVERLAY_CHECK(real.count() == model.size());
    real.CheckInvariants();
  }
}

// ---- a whole transport
// -----------------------------------------------------------------------------

void CheckTransport(FuzzInput input) {
  PeerNet net({.delay = 1ms});
  net.AddNode();
  net.AddRaw({});
  if (!net.JoinRaw(1, 0)) return;
  RawPeer& raw = net.raw(1);
  std::vector<StreamId> streams = {raw.control()};
  while (!input.empty() && !raw.ended()) {
    const uint8_t op = input.Byte();
    const size_t size = input.Byte();
    const auto bytes = input.Take(size);
    const std::string text(bytes.begin(), bytes.end());
    const bool fin = (op & 0x80) != 0;
    if (op % 4 == 0 && !text.empty()) {
      if (const auto stream = raw.Uni(text, fin); stream && !fin) streams.push_back(*stream);
    } else if (op % 4 == 1 && !text.empty()) {
      if (const auto stream = raw.Bidi(text, fin); stream && !fin) streams.push_back(*stream);
    } else if (op % 4 == 2 && !text.empty() && !streams.empty()) {
      raw.Append(streams[(op >> 2) % streams.size()], text, false);
    } else {
      net.WriteRaw(1);
      net.Run(5ms);
    }
  }
  net.WriteRaw(1);
  net.Run(50ms);
}

}  // namespace
}  // namespace overlay::transport

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace overlay::transport;
  if (size == 0) return 0;
  const overlay::FuzzInput input(data + 1, size - 1);
  switch (data[0] % 16) {
    case 0:
      CheckTransport(input);
      break;
    case 1:
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
      CheckEnvelopes(input);
      break;
    default:
      CheckReaders(input);
      break;
  }
  return 0;
}
