// server/http3/web_identity.h
//
// Who the HTTP/3 window says that it is: a certificate and its key from files, or one of its own
// making. It has nothing to do with the node's key.
//
// Rules
//   R1  TLS 1.3 with ALPN "h3"; whoever comes needs no certificate. Why: the window is read-only,
//       and who may reach it is the matter of the address it listens on.
//   R2  A certificate of our own making is ECDSA P-256, for localhost and the loopback addresses,
//       new at each start, its key never written down. Why: ordinary clients take no Ed25519, and
//       nobody who is elsewhere should learn to click it away.
//   R3  No tickets, no early data. Why: early data can be replayed, and a ticket would outlive a
//       certificate.
//
// Threads  one; immutable once made.
#ifndef OVERLAY_SERVER_HTTP3_WEB_IDENTITY_H_
#define OVERLAY_SERVER_HTTP3_WEB_IDENTITY_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "flood/base/time.h"
#include "transport/tls_identity.h"

namespace overlay::server {

inline constexpr char kHttp3Alpn[] = "h3";

struct PemPair {
  std::string certificates;
  std::string key;
};

// R2. INTERNAL when GnuTLS refuses.
absl::StatusOr<PemPair> MakeSelfSigned(WallTime now);

class WebIdentity : public transport::TlsIdentity {
 public:
  // INVALID_ARGUMENT: GnuTLS does not take the pair.
  static absl::StatusOr<std::unique_ptr<WebIdentity>> Create(const PemPair& pem);
  ~WebIdentity() override;

  absl::StatusOr<std::unique_ptr<transport::TlsSession>> NewServerSession() const override;
  // Of whoever looks through a window, whatever certificate it shows: tests and the benchmark.
  absl::StatusOr<std::unique_ptr<transport::TlsSession>> NewClientSession(
      const std::optional<NodeKey>& pinned) const override;

 private:
  WebIdentity() = default;
  absl::StatusOr<std::unique_ptr<transport::TlsSession>> NewSession(unsigned flags) const;

  gnutls_certificate_credentials_st* web_credentials_ = nullptr;
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_HTTP3_WEB_IDENTITY_H_
