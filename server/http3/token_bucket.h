// server/http3/token_bucket.h
//
// So many events a second, with a burst of one second's worth.
//
// Time     argument only; a step backwards gives nothing.
// Threads  none.
#ifndef OVERLAY_SERVER_HTTP3_TOKEN_BUCKET_H_
#define OVERLAY_SERVER_HTTP3_TOKEN_BUCKET_H_

#include <algorithm>
#include <cstdint>

#include "flood/base/time.h"

namespace overlay::server {

class TokenBucket {
 public:
  TokenBucket(uint64_t per_second, Time now)
      : per_second_(static_cast<double>(per_second)), tokens_(per_second_), filled_(now) {}

  bool Take(Time now) {
    if (now > filled_) {
      tokens_ = std::min(per_second_, tokens_ + ToSeconds(now - filled_) * per_second_);
      filled_ = now;
    }
    if (tokens_ < 1) return false;
    tokens_ -= 1;
    return true;
  }

 private:
  double per_second_;
  double tokens_;
  Time filled_;
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_HTTP3_TOKEN_BUCKET_H_
