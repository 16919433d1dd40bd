// server/http3/tx_set_page.h
//
// /txsets/HASH: a transaction set of the daemon's cache, as it is, or as the zstd frame that the
// cache keeps of it.
//
// Rules
//   R1  What is named by its hash never changes: it may be kept for ever, and who has it is told so
//       (304) without a look into the cache.
//   R2  A set is compressed once: the frame goes into the cache, where peers find it too, and what
//       is not worth it (it saves less than a tenth) is not tried again. One at a time, and not by
//       the daemon's worker. Why: a ledger may wait for that.
//   R3  The bytes are the cache's own, shared, also when it lets them go meanwhile.
//
// Cost     one crossing to the loop a request, three where it compresses (20 ms for 10 MB).
// Threads  any.
#ifndef OVERLAY_SERVER_HTTP3_TX_SET_PAGE_H_
#define OVERLAY_SERVER_HTTP3_TX_SET_PAGE_H_

#include <functional>
#include <optional>
#include <string_view>

#include "flood/base/bytes.h"
#include "flood/base/ids.h"
#include "server/http_page.h"

namespace overlay::server {

struct CachedSet {
  Bytes bytes;                // empty: not cached
  Bytes frame;                // of zstd; empty: none
  bool may_compress = false;  // there is no frame, and nobody has tried
};

// The cache, from any thread.
struct SetDesk {
  // nullopt: there was no answer in time.
  std::function<std::optional<CachedSet>(const SetHash&)> look;
  // An empty frame: it is not worth it.
  std::function<void(const SetHash&, Bytes frame)> keep_frame;
};

HttpRoute TxSetRoute(SetDesk desk);

// Whether "gzip, zstd;q=0.5" takes zstd.
bool AcceptsZstd(std::string_view accept_encoding);
// Whether "\"abc\", W/\"def\"" names the tag, weakly compared. ("*" asks whether there is anything
// at all, and is let be.)
bool NamesTag(std::string_view if_none_match, std::string_view tag);

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_HTTP3_TX_SET_PAGE_H_
