#include "server/http3/web_identity.h"

#include <fmt/format.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <netinet/in.h>
#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto_gnutls.h>

#include <array>
#include <cstring>
#include <utility>

namespace overlay::server {
namespace {

// AES-128-GCM first: ChaCha20 is 7 times slower on our machines. Ordinary clients' curves and
// signatures; QUIC forbids the compatibility mode's session id.
constexpr char kPriorities[] =
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305"
    ":-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:%SERVER_PRECEDENCE"
    ":%DISABLE_TLS13_COMPAT_MODE";

// An hour back, for clocks that differ; ten years on, for it is made at each start.
constexpr time_t kValidBefore = 3'600;
constexpr time_t kValidFor = time_t{3'650} * 86'400;

absl::Status GnutlsError(std::string_view what, int error) {
  return absl::InternalError(fmt::format("{}: {}", what, gnutls_strerror(error)));
}

gnutls_datum_t DatumOf(std::string_view text) {
  return {reinterpret_cast<unsigned char*>(const_cast<char*>(text.data())),
          static_cast<unsigned>(text.size())};
}

int NameLoopback(gnutls_x509_crt_t certificate) {
  in_addr v4{htonl(INADDR_LOOPBACK)};
  in6_addr v6 = in6addr_loopback;
  const std::string_view name = "localhost";
  int rv =
      gnutls_x509_crt_set_subject_alt_name(certificate, GNUTLS_SAN_DNSNAME, name.data(),
                                           static_cast<unsigned>(name.size()), GNUTLS_FSAN_SET);
  if (rv >= 0) {
    rv = gnutls_x509_crt_set_subject_alt_name(certificate, GNUTLS_SAN_IPADDRESS, &v4, sizeof(v4),
                                              GNUTLS_FSAN_APPEND);
  }
  if (rv >= 0) {
    rv = gnutls_x509_crt_set_subject_alt_name(certificate, GNUTLS_SAN_IPADDRESS, &v6, sizeof(v6),
                                              GNUTLS_FSAN_APPEND);
  }
  return rv;
}

// Fills in and signs an empty certificate.
int FillCertificate(gnutls_x509_crt_t certificate, gnutls_x509_privkey_t key, time_t now) {
  std::array<uint8_t, 16> serial;
  int rv = gnutls_rnd(GNUTLS_RND_NONCE, serial.data(), serial.size());
  serial[0] &= 0x7f;  // a positive number
  if (rv >= 0) rv = gnutls_x509_crt_set_version(certificate, 3);
  if (rv >= 0) rv = gnutls_x509_crt_set_serial(certificate, serial.data(), serial.size());
  if (rv >= 0) rv = gnutls_x509_crt_set_activation_time(certificate, now - kValidBefore);
  if (rv >= 0) rv = gnutls_x509_crt_set_expiration_time(certificate, now + kValidFor);
  if (rv >= 0) rv = gnutls_x509_crt_set_dn(certificate, "CN=localhost", nullptr);
  if (rv >= 0) rv = NameLoopback(certificate);
  if (rv >= 0) rv = gnutls_x509_crt_set_key(certificate, key);
  if (rv >= 0) rv = gnutls_x509_crt_set_key_usage(certificate, GNUTLS_KEY_DIGITAL_SIGNATURE);
  if (rv >= 0) rv = gnutls_x509_crt_set_key_purpose_oid(certificate, GNUTLS_KP_TLS_WWW_SERVER, 0);
  if (rv >= 0) rv = gnutls_x509_crt_sign2(certificate, certificate, key, GNUTLS_DIG_SHA256, 0);
  return rv;
}

// GNUTLS_ALPN_MANDATORY covers a client that offers other names; one that offers none is caught
// here.
int AfterClientHello(gnutls_session_t handle) {
  gnutls_datum_t protocol{};
  return gnutls_alpn_get_selected_protocol(handle, &protocol) < 0 ? GNUTLS_E_NO_APPLICATION_PROTOCOL
                                                                  : 0;
}

}  // namespace

absl::StatusOr<PemPair> MakeSelfSigned(WallTime now) {
  gnutls_x509_privkey_t key = nullptr;
  gnutls_x509_crt_t certificate = nullptr;
  gnutls_datum_t certificate_pem{};
  gnutls_datum_t key_pem{};
  int rv = gnutls_x509_privkey_init(&key);
  if (rv >= 0) {
    rv = gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                      GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
  }
  if (rv >= 0) rv = gnutls_x509_crt_init(&certificate);
  if (rv >= 0) rv = FillCertificate(certificate, key, static_cast<time_t>(now.unix_us / 1'000'000));
  if (rv >= 0) rv = gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_PEM, &certificate_pem);
  if (rv >= 0) rv = gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &key_pem);
  PemPair pair;
  if (rv >= 0) {
    pair.certificates.assign(reinterpret_cast<char*>(certificate_pem.data), certificate_pem.size);
    pair.key.assign(reinterpret_cast<char*>(key_pem.data), key_pem.size);
  }
  if (key_pem.data != nullptr) gnutls_memset(key_pem.data, 0, key_pem.size);
  gnutls_free(certificate_pem.data);
  gnutls_free(key_pem.data);
  if (certificate != nullptr) gnutls_x509_crt_deinit(certificate);
  if (key != nullptr) gnutls_x509_privkey_deinit(key);
  if (rv < 0) return GnutlsError("making a certificate", rv);
  return pair;
}

WebIdentity::~WebIdentity() {
  if (web_credentials_ != nullptr) gnutls_certificate_free_credentials(web_credentials_);
}

absl::StatusOr<std::unique_ptr<WebIdentity>> WebIdentity::Create(const PemPair& pem) {
  std::unique_ptr<WebIdentity> identity(new WebIdentity);
  // Of this process alone: what resets and Retry tokens derive from.
  SecretSeed seed;
  int rv = gnutls_rnd(GNUTLS_RND_KEY, seed.bytes.data(), seed.bytes.size());
  if (rv < 0) return GnutlsError("drawing a secret", rv);
  if (absl::Status status = identity->Init(seed); !status.ok()) return status;
  rv = gnutls_certificate_allocate_credentials(&identity->web_credentials_);
  if (rv < 0) return GnutlsError("making TLS credentials", rv);
  const gnutls_datum_t certificates = DatumOf(pem.certificates);
  const gnutls_datum_t key = DatumOf(pem.key);
  rv = gnutls_certificate_set_x509_key_mem(identity->web_credentials_, &certificates, &key,
                                           GNUTLS_X509_FMT_PEM);
  if (rv < 0) return absl::InvalidArgumentError(gnutls_strerror(rv));
  return identity;
}

absl::StatusOr<std::unique_ptr<transport::TlsSession>> WebIdentity::NewSession(
    unsigned flags) const {
  gnutls_session_t handle = nullptr;
  int rv = gnutls_init(&handle, flags | GNUTLS_NO_TICKETS | GNUTLS_NO_AUTO_SEND_TICKET |
                                    GNUTLS_NO_END_OF_EARLY_DATA);
  if (rv < 0) return GnutlsError("making a TLS session", rv);
  auto session =
      std::make_unique<transport::TlsSession>(handle, transport::TlsSession::Anonymous{});
  const gnutls_datum_t alpn = DatumOf(kHttp3Alpn);
  rv = gnutls_priority_set_direct(handle, kPriorities, nullptr);
  if (rv >= 0) rv = gnutls_credentials_set(handle, GNUTLS_CRD_CERTIFICATE, web_credentials_);
  if (rv >= 0) rv = gnutls_alpn_set_protocols(handle, &alpn, 1, GNUTLS_ALPN_MANDATORY);
  if (rv < 0) return GnutlsError("setting up a TLS session", rv);
  return session;
}

absl::StatusOr<std::unique_ptr<transport::TlsSession>> WebIdentity::NewServerSession() const {
  absl::StatusOr<std::unique_ptr<transport::TlsSession>> session = NewSession(GNUTLS_SERVER);
  if (!session.ok()) return session;
  gnutls_handshake_set_post_client_hello_function((*session)->handle(), AfterClientHello);
  if (ngtcp2_crypto_gnutls_configure_server_session((*session)->handle()) != 0) {
    return absl::InternalError("setting up a TLS session for QUIC");
  }
  return session;
}

absl::StatusOr<std::unique_ptr<transport::TlsSession>> WebIdentity::NewClientSession(
    const std::optional<NodeKey>& /*pinned*/) const {
  absl::StatusOr<std::unique_ptr<transport::TlsSession>> session = NewSession(GNUTLS_CLIENT);
  if (session.ok() && ngtcp2_crypto_gnutls_configure_client_session((*session)->handle()) != 0) {
    return absl::InternalError("setting up a TLS session for QUIC");
  }
  return session;
}

}  // namespace overlay::server
