#include "tests/bench/floors.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "flood/base/check.h"
#include "flood/base/crypto.h"

namespace overlay::bench {
namespace {

constexpr Duration kStartPatience = std::chrono::seconds(20);
constexpr size_t kHashedBytes = 16 << 20;

struct Kind {
  const char* echo;
  absl::StatusOr<std::unique_ptr<Echo>> (*connect)(const std::string& address);
  double reference_us;
  double reference_mb_s;
};

// The reference: the same measurements on two quiet virtual CPUs, processes on different ones.
constexpr Kind kKinds[] = {
    {"udp", &ConnectUdpEcho, 50, 0},
    {"unix", &ConnectUnixEcho, 52, 0},
    {"grpc", &ConnectGrpcEcho, 25, 0},
    {"quic", &ConnectQuicEcho, 53, 1'650},
};
constexpr double kSha256ReferenceMbS = 1'300;

double MbPerSecond(size_t bytes, Duration took) {
  return static_cast<double>(bytes) / 1e6 / std::max(ToSeconds(took), 1e-9);
}

}  // namespace

std::optional<double> FloorFigures::BulkMedian() const {
  if (bulk_mb_s.empty()) return std::nullopt;
  std::vector<double> sorted = bulk_mb_s;
  std::sort(sorted.begin(), sorted.end());
  return sorted[sorted.size() / 2];
}

std::string FloorFigures::Flag() const {
  std::string flag;
  const std::optional<double> p50 = busy.Micros(0.5);
  if (p50 && reference_us > 0 && *p50 > kSlowFloor * reference_us) {
    flag += fmt::format("SLOW: {:.1f} x the reference's {:.0f} us. ", *p50 / reference_us,
                        reference_us);
  }
  const std::optional<double> bulk = BulkMedian();
  if (bulk && reference_mb_s > 0 && *bulk * kSlowFloor < reference_mb_s) {
    flag += fmt::format("SLOW: the reference's {1:.0f} MB/s are {0:.1f} x as fast. ",
                        reference_mb_s / *bulk, reference_mb_s);
  }
  return flag;
}

absl::StatusOr<std::unique_ptr<Floors>> Floors::Start(const std::string& folder) {
  auto floors = std::make_unique<Floors>();
  for (const Kind& kind : kKinds) {
    auto child = ChildProcess::Start({"/proc/self/exe", "--echo", kind.echo, folder},
                                     fmt::format("{}/{}_echo.log", folder, kind.echo));
    if (!child.ok()) return child.status();
    const absl::StatusOr<std::string> line = (*child)->ReadLine(kStartPatience);
    if (!line.ok()) return line.status();
    auto echo = kind.connect(line->substr(line->find(' ') + 1));
    if (!echo.ok()) return echo.status();
    floors->children_.push_back(*std::move(child));
    floors->echoes_.push_back(*std::move(echo));
    FloorFigures& figures = floors->figures_.emplace_back();
    figures.name = kind.echo;
    figures.reference_us = kind.reference_us;
    figures.reference_mb_s = kind.reference_mb_s;
  }
  FloorFigures& sha256 = floors->figures_.emplace_back();
  sha256.name = "sha256";
  sha256.reference_mb_s = kSha256ReferenceMbS;
  return floors;
}

absl::Status Floors::RunBusy(size_t round_trips) {
  for (size_t kind = 0; kind < echoes_.size(); ++kind) {
    for (size_t i = 0; i < round_trips && !Interrupted(); ++i) {
      const Time begin = Now();
      if (absl::Status status = echoes_[kind]->RoundTrip(); !status.ok()) return status;
      figures_[kind].busy.Add(Now() - begin);
    }
  }
  return absl::OkStatus();
}

absl::Status Floors::RunPaced(Duration gap, size_t round_trips) {
  for (size_t kind = 0; kind < echoes_.size(); ++kind) {
    Pace pace(gap);
    for (size_t i = 0; i < round_trips && !Interrupted(); ++i) {
      echoes_[kind]->WaitUntil(pace.next());
      const Time intended = pace.Take();
      if (absl::Status status = echoes_[kind]->RoundTrip(); !status.ok()) return status;
      figures_[kind].paced.Add(Now() - intended);
    }
    sends_ += pace.sends();
    late_ += pace.late();
  }
  return absl::OkStatus();
}

absl::Status Floors::RunBulk() {
  for (size_t kind = 0; kind < echoes_.size(); ++kind) {
    const Time begin = Now();
    const absl::Status status = echoes_[kind]->Bulk();
    if (absl::IsUnimplemented(status)) continue;
    if (!status.ok()) return status;
    figures_[kind].bulk_mb_s.push_back(MbPerSecond(kBulkBytes, Now() - begin));
  }
  const std::vector<uint8_t> data(kHashedBytes, 's');
  const Time begin = Now();
  const std::array<uint8_t, 32> digest = Sha256(data);
  OVERLAY_CHECK(digest != (std::array<uint8_t, 32>{}));
  figures_.back().bulk_mb_s.push_back(MbPerSecond(kHashedBytes, Now() - begin));
  return absl::OkStatus();
}

const FloorFigures& Floors::Named(const std::string& name) const {
  for (const FloorFigures& figures : figures_) {
    if (figures.name == name) return figures;
  }
  OVERLAY_CHECK(false);
}

}  // namespace overlay::bench
