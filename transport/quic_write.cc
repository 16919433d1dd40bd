// Building packets: what a source has, several streams to a packet, several packets to a batch.
#include <algorithm>
#include <utility>

#include "flood/base/check.h"
#include "transport/quic_connection_impl.h"

namespace overlay::transport {
namespace {

// Collects packets into batches that one system call can send, and hands them to the sink.
class Batcher {
 public:
  explicit Batcher(DatagramSink& sink) : sink_(sink) {}

  // Where the next packet goes; empty when the sink is blocked.
  absl::Span<uint8_t> Room() {
    if (count_ == 0 && left_.size() < kSinkBufferBytesMin) left_ = sink_.Buffer();
    return left_.subspan(std::min(bytes_, left_.size()));
  }

  // A packet of `bytes` was written to Room().
  void Add(const Path& path, size_t bytes) {
    if (count_ > 0 && (bytes > segment_bytes_ || path != path_)) Commit();
    if (count_ == 0) {
      path_ = path;
      segment_bytes_ = bytes;
    }
    bytes_ += bytes;
    ++count_;
    const bool full = count_ == kBatchDatagramsMax || bytes_ + segment_bytes_ > kBatchBytesMax ||
                      left_.size() - bytes_ < 2 * kDatagramBytesMax;
    if (bytes < segment_bytes_ || full) Commit();
  }

  void Commit() {
    if (count_ == 0) return;
    sink_.Commit(path_, bytes_, segment_bytes_);
    left_.remove_prefix(bytes_);
    bytes_ = 0;
    count_ = 0;
  }

 private:
  DatagramSink& sink_;
  absl::Span<uint8_t> left_;
  Path path_;
  size_t segment_bytes_ = 0;
  size_t bytes_ = 0;
  size_t count_ = 0;
};

constexpr StreamId kNoStream = -1;

// What goes next, or a chunk of kNoStream. `refused`: what was refused last, which must not come
// again.
StreamChunk AskSource(StreamSource* source, StreamId refused) {
  StreamChunk nothing{kNoStream, {}, false};
  if (source == nullptr) return nothing;
  std::optional<StreamChunk> chunk = source->Next();
  if (!chunk) return nothing;
  if (chunk->stream == refused) {
    OVERLAY_BUG("a stream source offers what was just refused");
    return nothing;
  }
  if (chunk->data.empty() && !chunk->fin) {
    OVERLAY_BUG("a stream source offers nothing");
    return nothing;
  }
  return *std::move(chunk);
}

static_assert(kSinkBufferBytesMin >= kBatchBytesMax + kDatagramBytesMax);

}  // namespace

void QuicConnection::Impl::RefillSpareStreams() {
  while (spare_uni.size() < kSpareUniStreams) {
    StreamId stream;
    if (ngtcp2_conn_open_uni_stream(conn.get(), &stream, nullptr) != 0) return;
    spare_uni.push_back(stream);
  }
}

void QuicConnection::Impl::Hold(StreamId stream, const Bytes& chunk, size_t bytes) {
  SendingStream& sent = sending[stream];
  sent.packed_bytes += bytes;
  if (!sent.held.empty()) {
    Held& last = sent.held.back();
    const uint8_t* const begin = last.chunk.data();
    // Both ends inside a buffer that is alive: the same buffer, so one reference serves for both.
    if (chunk.data() >= begin && chunk.data() + bytes <= begin + last.chunk.size()) {
      last.end = sent.packed_bytes;
      return;
    }
  }
  if (bytes > 0) sent.held.push_back({chunk, sent.packed_bytes});
}

void QuicConnection::Impl::CountInFlight() {
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info(conn.get(), &info);
  if (info.bytes_in_flight > in_flight_before) {
    put_in_flight += info.bytes_in_flight - in_flight_before;
  }
  in_flight_before = info.bytes_in_flight;
}

ngtcp2_ssize QuicConnection::Impl::WritePacket(absl::Span<uint8_t> dest, ngtcp2_path* path,
                                               ngtcp2_tstamp ts, StreamSource* source,
                                               WriteGoal goal, bool& starved) {
  bool begun = false;
  StreamId refused = kNoStream;
  for (;;) {
    StreamChunk chunk = AskSource(source, refused);
    starved = chunk.stream == kNoStream;
    if (starved) {
      if (!begun && goal == WriteGoal::kData) return 0;
      return ngtcp2_conn_writev_stream(conn.get(), path, nullptr, dest.data(), dest.size(), nullptr,
                                       NGTCP2_WRITE_STREAM_FLAG_NONE, -1, nullptr, 0, ts);
    }
    const ngtcp2_vec data{const_cast<uint8_t*>(chunk.data.data()), chunk.data.size()};
    const uint32_t flags =
        NGTCP2_WRITE_STREAM_FLAG_MORE | (chunk.fin ? NGTCP2_WRITE_STREAM_FLAG_FIN : 0u);
    ngtcp2_ssize taken = -1;
    const ngtcp2_ssize n =
        ngtcp2_conn_writev_stream(conn.get(), path, nullptr, dest.data(), dest.size(), &taken,
                                  flags, chunk.stream, &data, 1, ts);
    if (taken >= 0) {
      const auto bytes = static_cast<size_t>(taken);
      Hold(chunk.stream, chunk.data, bytes);
      source->OnPacked(chunk.stream, bytes, chunk.fin && bytes == chunk.data.size());
      refused = kNoStream;
    }
    switch (n) {
      case NGTCP2_ERR_WRITE_MORE:
        begun = true;
        continue;
      case NGTCP2_ERR_STREAM_DATA_BLOCKED:
      case NGTCP2_ERR_STREAM_SHUT_WR:
      case NGTCP2_ERR_STREAM_NOT_FOUND:
        begun = true;
        refused = chunk.stream;
        source->OnRefused(chunk.stream, n == NGTCP2_ERR_STREAM_DATA_BLOCKED
                                            ? WriteRefusal::kNoCredit
                                            : WriteRefusal::kGone);
        continue;
      default:
        return n;
    }
  }
}

void QuicConnection::Impl::WriteClosePacket(Time now, DatagramSink& sink, WriteResult& result) {
  const bool first = state == ConnectionState::kClosePending;
  if (!first && !close_repeat_due) return;
  absl::Span<uint8_t> room = sink.Buffer();
  if (room.empty()) {
    result.stop = WriteStop::kSinkBlocked;
    return;
  }
  if (first) {
    ngtcp2_path_storage ps;
    ngtcp2_path_storage_zero(&ps);
    const ngtcp2_ssize n =
        ngtcp2_conn_write_connection_close(conn.get(), &ps.path, nullptr, room.data(),
                                           settings.datagram_bytes_max, &close_error, Stamp(now));
    if (n <= 0) {  // nothing was ever sent, or the peer's address is not proven: silence is right
      state = ConnectionState::kDead;
      return;
    }
    close_packet.assign(room.begin(), room.begin() + n);
    close_path = FromNgPath(ps.path);
    ends_at = now + 3 * Pto();
    state = ConnectionState::kClosing;
  } else {
    std::copy(close_packet.begin(), close_packet.end(), room.begin());
  }
  sink.Commit(close_path, close_packet.size(), close_packet.size());
  close_repeat_due = false;
  close_repeat_at = now + kCloseRepeatMin;
  result.bytes += close_packet.size();
  ++result.datagrams;
  sent_bytes += close_packet.size();
  ++sent_datagrams;
}

WriteResult QuicConnection::Impl::Drain(Time now, DatagramSink& sink, StreamSource* source,
                                        const WritePass& pass, QuicEvents& out) {
  WriteResult result;
  if (IsClosed()) {
    WriteClosePacket(now, sink, result);
    return result;
  }
  if (!confirmed) source = nullptr;
  if (source == nullptr && pass.goal == WriteGoal::kData) return result;
  const ngtcp2_tstamp ts = Stamp(now);
  // Keep-alive of a nanosecond makes ngtcp2 send a PING with the next packet.
  if (ping_wanted) ngtcp2_conn_set_keep_alive_timeout(conn.get(), 1);
  events = &out;
  CountInFlight();
  const uint64_t put_before = put_in_flight;

  Batcher batch(sink);
  ngtcp2_path_storage ps;
  ngtcp2_path_storage_zero(&ps);
  ngtcp2_ssize n = 0;
  for (;;) {
    if (result.bytes >= pass.bytes_max) {
      result.stop = WriteStop::kBudget;
      break;
    }
    const absl::Span<uint8_t> room = batch.Room();
    if (room.empty()) {
      result.stop = WriteStop::kSinkBlocked;
      break;
    }
    if (source != nullptr) RefillSpareStreams();
    bool starved = true;
    writing = true;
    n = WritePacket(room.first(settings.datagram_bytes_max), &ps.path, ts, source, pass.goal,
                    starved);
    writing = false;
    if (n <= 0) {
      result.stop = starved ? WriteStop::kNothingLeft : WriteStop::kCongested;
      break;
    }
    batch.Add(FromNgPath(ps.path), static_cast<size_t>(n));
    result.bytes += static_cast<size_t>(n);
    ++result.datagrams;
    CountInFlight();
  }
  batch.Commit();
  events = nullptr;
  sent_bytes += result.bytes;
  sent_datagrams += result.datagrams;
  if (ping_wanted && put_in_flight > put_before) {
    ping_wanted = false;
    RestoreKeepAlive();
  }
  if (n < 0) {
    OnResult(now, static_cast<int>(n), out);
    return result;
  }
  pacing_due = pacing_due || result.datagrams > 0;
  if (pass.goal == WriteGoal::kData) {
    flush_wanted = flush_wanted || result.datagrams > 0;
    return result;
  }
  // Once a turn, or the packets of one class would hold up those of the next until the pacer lets
  // go.
  if (std::exchange(pacing_due, false)) ngtcp2_conn_update_pkt_tx_time(conn.get(), ts);
  if (result.stop == WriteStop::kNothingLeft || result.stop == WriteStop::kCongested) {
    flush_wanted = false;
  }
  return result;
}

}  // namespace overlay::transport
