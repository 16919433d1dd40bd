// transport/tls_identity.h
//
// Who we are on the wire, and who the other is: a node key as a self-signed Ed25519 certificate,
// TLS 1.3 sessions for QUIC over it, and the proof of the peer's key.
//
// Rules
//   R1  TLS 1.3 only; signatures Ed25519 only; X25519; AES-128-GCM first. Why: ChaCha20 is 7 times
//       slower on our machines; everything else is surface.
//   R2  Both sides must show a certificate, and its key must be Ed25519. Its names, issuer,
//       signature and dates are ignored. Why: the key is the identity, TLS itself proves that the
//       peer holds it, and a wrong clock must not cut off a validator.
//   R3  The ALPN name is mandatory. Why: another protocol on our port must fail by name.
//   R4  No tickets, no early data. Why: early data can be replayed.
//   R5  A dial that names a key accepts no other. Why: DNS can be poisoned.
//   R6  Reset and Retry secrets derive from the node key. Why: a restarted acceptor can then tell
//       the peers of its former life, at once, that it knows their connections no more.
//
// Cost     a handshake costs both sides together 0.8 ms of CPU.
// Threads  sessions belong to the loop thread; the identity is immutable and may be shared.
// Not here reading the key from disk (node_key_file.h), which peers are welcome (session layer).
#ifndef OVERLAY_TRANSPORT_TLS_IDENTITY_H_
#define OVERLAY_TRANSPORT_TLS_IDENTITY_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "flood/base/crypto.h"
#include "flood/base/ids.h"

struct gnutls_certificate_credentials_st;
struct gnutls_session_int;

namespace overlay::transport {

inline constexpr char kAlpn[] = "scp-overlay/1";

// One TLS session, driven by ngtcp2. Does not move: GnuTLS keeps its address.
class TlsSession {
 public:
  // Takes over a session of GnuTLS, to which ngtcp2 has the only other pointer.
  TlsSession(gnutls_session_int* handle, const std::optional<NodeKey>& pinned);
  // The same where the other end has no key to prove, or need not: a window that anybody may look
  // through, and who looks. peer_key() is all zero then.
  struct Anonymous {};
  TlsSession(gnutls_session_int* handle, Anonymous);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  gnutls_session_int* handle() const { return handle_; }
  // Set once the peer's certificate was accepted.
  const std::optional<NodeKey>& peer_key() const { return peer_key_; }
  // Why the peer's certificate was refused; empty while it was not.
  const std::string& refusal() const { return refusal_; }

 private:
  static int VerifyPeer(gnutls_session_int* handle);
  int Refuse(int error, std::string why);

  gnutls_session_int* handle_;
  std::optional<NodeKey> pinned_;
  std::optional<NodeKey> peer_key_;
  std::string refusal_;
};

class TlsIdentity {
 public:
  // INTERNAL when GnuTLS refuses.
  static absl::StatusOr<std::unique_ptr<TlsIdentity>> Create(const SecretSeed& seed);
  virtual ~TlsIdentity();
  TlsIdentity(const TlsIdentity&) = delete;
  TlsIdentity& operator=(const TlsIdentity&) = delete;

  const NodeKey& node_key() const { return node_key_; }
  const std::array<uint8_t, 32>& reset_secret() const { return reset_secret_; }
  const std::array<uint8_t, 32>& retry_secret() const { return retry_secret_; }

  // Virtual so that a test can play a peer that breaks the rules.
  virtual absl::StatusOr<std::unique_ptr<TlsSession>> NewClientSession(
      const std::optional<NodeKey>& pinned) const;
  virtual absl::StatusOr<std::unique_ptr<TlsSession>> NewServerSession() const;

 protected:
  TlsIdentity() = default;
  absl::Status Init(const SecretSeed& seed);

 private:
  absl::StatusOr<std::unique_ptr<TlsSession>> NewSession(
      unsigned flags, const std::optional<NodeKey>& pinned) const;

  NodeKey node_key_;
  std::array<uint8_t, 32> reset_secret_{};
  std::array<uint8_t, 32> retry_secret_{};
  gnutls_certificate_credentials_st* credentials_ = nullptr;
};

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_TLS_IDENTITY_H_
