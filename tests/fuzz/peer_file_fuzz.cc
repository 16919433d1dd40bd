// A peer file of anybody's making, with the last line that makes it whole and without: nothing
// crashes the decoder; what decodes is the one text that encoding gives; and the book
// and the bans that are made of it obey their bounds and are the same again after another restart.
//
// Input: the lines before the last one.
#include <cstddef>
#include <cstdint>
#include <string>

#include "flood/base/check.h"
#include "flood/base/crypto.h"
#include "flood/peers/peer_file.h"

namespace overlay::flood {
namespace {

constexpr Time kNow{std::chrono::seconds(1000)};
constexpr WallTime kWall{1'790'000'000'000'000};

void Restart(const PeerFile& file) {
  PeerBook book;
  BanList bans;
  AddPeerFile(file, kNow, kWall, book, bans);
  book.CheckInvariants();
  bans.CheckInvariants();
  OVERLAY_CHECK(book.peers().size() == file.peers.size());
  const PeerFile saved = ToPeerFile(book, bans, kNow, kWall);
  const absl::StatusOr<PeerFile> read = DecodePeerFile(EncodePeerFile(saved));
  OVERLAY_CHECK(read.ok() && *read == saved);
  PeerBook again;
  BanList bans_again;
  AddPeerFile(*read, kNow, kWall, again, bans_again);
  OVERLAY_CHECK(ToPeerFile(again, bans_again, kNow, kWall) == saved);
}

void Try(const std::string& text) {
  const absl::StatusOr<PeerFile> file = DecodePeerFile(text);
  if (!file.ok()) {
    OVERLAY_CHECK(file.status().code() == absl::StatusCode::kInvalidArgument);
    OVERLAY_CHECK(file.status().message().substr(0, 5) == "line ");
    return;
  }
  OVERLAY_CHECK(EncodePeerFile(*file) == text);
  Restart(*file);
}

}  // namespace
}  // namespace overlay::flood

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string lines(reinterpret_cast<const char*>(data), size);
  overlay::flood::Try(lines);
  overlay::flood::Try(lines + "sha256 " + overlay::HexEncode(overlay::Sha256({data, size})) + "\n");
  return 0;
}
