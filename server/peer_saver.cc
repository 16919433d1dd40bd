#include "server/peer_saver.h"

#include <fmt/format.h>

#include <utility>

namespace overlay::server {

PeerSaver::PeerSaver(const std::string& path, const flood::OverlayNode* node, Log* log,
                     std::function<void()> wake)
    : node_(node),
      log_(log),
      writer_(path, std::move(wake)),
      saved_changes_(node->known_peers_changes()) {}

std::optional<Time> PeerSaver::OnTurn(Time now, const std::function<WallTime()>& read_wall_clock) {
  if (writer_.ended() != report_.written + report_.failed) SayEnded(now);
  if (node_->known_peers_changes() == saved_changes_ && !save_again_) return std::nullopt;
  if (now < next_save_) return next_save_;
  Submit(now, read_wall_clock());
  return std::nullopt;
}

void PeerSaver::SayEnded(Time now) {
  report_ = writer_.report();
  const bool failed = !report_.last.ok();
  if (failed) {
    save_again_ = true;
    next_save_ = now + kSaveAgainAfter;
  }
  if (failed == std::exchange(failed_, failed)) return;
  if (failed) {
    log_->EventLimited(now, LogLevel::kError, "peer_file_not_written",
                       {{"error", std::string(report_.last.message())},
                        {"again_in_s", fmt::format("{}", ToSeconds(kSaveAgainAfter))}});
  } else {
    log_->EventLimited(now, LogLevel::kInfo, "peer_file_written_again");
  }
}

void PeerSaver::Submit(Time now, WallTime wall) {
  saved_changes_ = node_->known_peers_changes();
  save_again_ = false;
  next_save_ = now + kSaveEvery;
  writer_.Submit({node_->known_peers(), node_->bans(), now, wall});
}

void PeerSaver::Finish(Time now, WallTime wall, std::chrono::milliseconds patience) {
  Submit(now, wall);
  if (!writer_.Finish(patience)) {
    log_->Event(LogLevel::kWarning, "peer_file_not_written", {{"error", "the disk is too slow"}});
    return;
  }
  SayEnded(now);
}

}  // namespace overlay::server
