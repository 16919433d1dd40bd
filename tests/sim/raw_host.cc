#include "tests/sim/raw_host.h"

#include <algorithm>
#include <utility>

#include "flood/base/check.h"
#include "flood/base/frame.h"
#include "flood/base/wire_codec.h"

namespace overlay::sim {
namespace {

using std::chrono::milliseconds;

constexpr Duration kTick = milliseconds(2);

absl::Span<const uint8_t> SpanOf(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string KindByte(StreamKind kind) { return std::string(1, static_cast<char>(kind)); }

}  // namespace

RawHost::RawHost(Network& net, uint8_t number)
    : net_(net),
      address_(SocketAddress::V4(0x0a000100u + number, 11625)),
      buffer_(transport::kSinkBufferBytesMin) {
  transport::RawPeer::Options options;
  options.seed = static_cast<uint8_t>(200 + number);
  options.random_seed = number;
  options.network = "overlay test network";
  raw_ = std::make_unique<transport::RawPeer>(options);
  net_.AddHost(address_, [this](const SocketAddress& from, absl::Span<const uint8_t> payload) {
    raw_->OnDatagram(net_.now(), {address_, from}, payload);
    Flush();
  });
  Tick();
}

void RawHost::Tick() {
  if (raw_->NextDeadline().value_or(kTimeNever) <= net_.now()) raw_->OnDeadline(net_.now());
  Flush();
  net_.After(kTick, [this] { Tick(); });
}

void RawHost::Flush() { raw_->WriteTurn(net_.now(), *this); }

bool RawHost::Join(size_t node) {
  const uint64_t before = net_.stats(node).peers.connected;
  raw_->Dial(net_.now(), net_.AddressOf(node));
  Flush();
  return net_.RunUntil(
      [&] { return raw_->greeted() && net_.stats(node).peers.connected == before + 1; },
      std::chrono::seconds(3));
}

absl::Span<uint8_t> RawHost::Buffer() {
  used_ = 0;
  return absl::MakeSpan(buffer_);
}

void RawHost::Commit(const transport::Path& path, size_t bytes, size_t segment_bytes) {
  const size_t end = used_ + bytes;
  OVERLAY_CHECK(end <= buffer_.size() && segment_bytes > 0);
  while (used_ < end) {
    const size_t size = std::min(segment_bytes, end - used_);
    net_.SendFromHost(address_, path.remote,
                      {buffer_.begin() + static_cast<ptrdiff_t>(used_),
                       buffer_.begin() + static_cast<ptrdiff_t>(used_ + size)});
    used_ += size;
  }
}

// ---- words

void RawHost::SendEnvelope(const Bytes& envelope) {
  raw_->Uni(KindByte(StreamKind::kScp) + std::string(envelope.view()), /*fin=*/true);
}

void RawHost::SendControl(const ControlMessage& message) {
  SendFrame(transport::ControlFrame(message));
}

void RawHost::SendFrame(std::string_view frame) { raw_->Append(raw_->control(), frame, false); }

void RawHost::Announce(const std::vector<InvEntry>& entries) {
  if (tx_control_ < 0) {
    const auto stream = raw_->Uni(KindByte(StreamKind::kTxControl), /*fin=*/false);
    OVERLAY_CHECK(stream.has_value());
    tx_control_ = *stream;
  }
  for (size_t at = 0; at < entries.size(); at += kInvEntryCountMax) {
    const size_t end = std::min(entries.size(), at + kInvEntryCountMax);
    const Inv inv{{entries.begin() + static_cast<ptrdiff_t>(at),
                   entries.begin() + static_cast<ptrdiff_t>(end)}};
    raw_->Append(tx_control_, EncodeTxControl(inv).view(), false);
  }
}

std::vector<std::pair<transport::StreamId, std::string>> RawHost::TakeAsked(StreamKind kind) {
  std::vector<std::pair<transport::StreamId, std::string>> asked;
  for (const auto& [id, stream] : raw_->streams()) {
    if (!stream.fin || stream.bytes.empty() || stream.bytes[0] != static_cast<char>(kind)) continue;
    if (taken_.insert(id).second) asked.emplace_back(id, stream.bytes.substr(1));
  }
  return asked;
}

std::vector<RawHost::Demand> RawHost::TakeDemands() {
  std::vector<Demand> demands;
  for (const auto& [stream, bytes] : TakeAsked(StreamKind::kTxBodies)) {
    FrameReader reader;
    absl::Span<const uint8_t> rest = SpanOf(bytes);
    const auto frame = reader.Next(rest);
    OVERLAY_CHECK(frame.ok() && frame->has_value());
    auto data = DecodeGetData(**frame);
    OVERLAY_CHECK(data.ok() && data->has_value());
    demands.push_back({stream, std::move((*data)->hashes)});
  }
  return demands;
}

std::vector<RawHost::Fetch> RawHost::TakeFetches() {
  std::vector<Fetch> fetches;
  for (const auto& [stream, bytes] : TakeAsked(StreamKind::kSet)) {
    FrameReader reader;
    absl::Span<const uint8_t> rest = SpanOf(bytes);
    const auto frame = reader.Next(rest);
    OVERLAY_CHECK(frame.ok() && frame->has_value());
    const auto request = DecodeSetRequest(**frame);
    OVERLAY_CHECK(request.ok() && request->has_value());
    fetches.push_back({stream, **request});
  }
  return fetches;
}

void RawHost::AnswerBody(transport::StreamId stream, std::string_view body, bool fin) {
  const auto length = EncodeLength(static_cast<uint32_t>(body.size()));
  std::string bytes(1, static_cast<char>(BodyOutcome::kBody));
  bytes.append(length.begin(), length.end());
  bytes += body;
  raw_->Append(stream, bytes, fin);
}

void RawHost::AnswerSet(transport::StreamId stream, const SetHeader& header,
                        std::string_view bytes) {
  raw_->Append(stream, std::string(EncodeSetHeader(header).view()) + std::string(bytes), true);
}

}  // namespace overlay::sim
