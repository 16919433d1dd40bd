#include "transport/tls_identity.h"

#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto_gnutls.h>

#include <string_view>
#include <utility>

#include "fmt/format.h"

namespace overlay::transport {
namespace {

// %SERVER_PRECEDENCE: the acceptor's order counts, or a dialler could choose the slow cipher for
// both. %DISABLE_TLS13_COMPAT_MODE: QUIC forbids the compatibility mode's session id.
constexpr char kPriorities[] =
    "NONE:+VERS-TLS1.3:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:+AEAD:+SHA256:+SHA384"
    ":+ECDHE-ECDSA:+GROUP-X25519:+SIGN-EDDSA-ED25519:+CTYPE-X509:%SERVER_PRECEDENCE:%DISABLE_TLS13_"
    "COMPAT_MODE";

// The certificate says nothing but its key: the same bytes at each start, valid always.
constexpr time_t kCertificateFrom = 0;
constexpr time_t kCertificateUntil = 253402300799;  // 9999-12-31T23:59:59Z, RFC 5280's "no end"

absl::Status GnutlsError(std::string_view what, int error) {
  return absl::InternalError(fmt::format("{}: {}", what, gnutls_strerror(error)));
}

gnutls_datum_t DatumOf(absl::Span<const uint8_t> bytes) {
  return {const_cast<uint8_t*>(bytes.data()), static_cast<unsigned>(bytes.size())};
}

gnutls_datum_t DatumOf(std::string_view text) {
  return DatumOf(absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

// HKDF-SHA256 with a label for each use, so that one secret tells nothing of another.
absl::Status DeriveSecret(const SecretSeed& seed, std::string_view label,
                          std::array<uint8_t, 32>& secret) {
  std::array<uint8_t, 32> extracted;
  const gnutls_datum_t key = DatumOf(absl::MakeConstSpan(seed.bytes));
  const gnutls_datum_t salt = DatumOf(std::string_view("scp-overlay/1 transport secrets"));
  int rv = gnutls_hkdf_extract(GNUTLS_MAC_SHA256, &key, &salt, extracted.data());
  if (rv < 0) return GnutlsError("deriving a secret from the node key", rv);
  const gnutls_datum_t prk = DatumOf(absl::MakeConstSpan(extracted));
  const gnutls_datum_t info = DatumOf(label);
  rv = gnutls_hkdf_expand(GNUTLS_MAC_SHA256, &prk, &info, secret.data(), secret.size());
  if (rv < 0) return GnutlsError("deriving a secret from the node key", rv);
  return absl::OkStatus();
}

// Fills in and signs an empty certificate.
int FillCertificate(gnutls_x509_crt_t certificate, gnutls_x509_privkey_t key) {
  const uint8_t serial = 1;
  int rv = gnutls_x509_crt_set_version(certificate, 3);
  if (rv >= 0) rv = gnutls_x509_crt_set_serial(certificate, &serial, sizeof(serial));
  if (rv >= 0) rv = gnutls_x509_crt_set_activation_time(certificate, kCertificateFrom);
  if (rv >= 0) rv = gnutls_x509_crt_set_expiration_time(certificate, kCertificateUntil);
  if (rv >= 0) rv = gnutls_x509_crt_set_dn(certificate, "CN=overlayd", nullptr);
  if (rv >= 0) rv = gnutls_x509_crt_set_key(certificate, key);
  if (rv >= 0) rv = gnutls_x509_crt_set_key_usage(certificate, GNUTLS_KEY_DIGITAL_SIGNATURE);
  if (rv >= 0) rv = gnutls_x509_crt_sign2(certificate, certificate, key, GNUTLS_DIG_SHA512, 0);
  return rv;
}

// The Ed25519 key of a certificate, or why there is none.
std::optional<NodeKey> Ed25519KeyOf(const gnutls_datum_t& der, std::string& why) {
  gnutls_pcert_st certificate;
  if (gnutls_pcert_import_x509_raw(&certificate, &der, GNUTLS_X509_FMT_DER, 0) < 0) {
    why = "the certificate cannot be read";
    return std::nullopt;
  }
  std::optional<NodeKey> key;
  const int algorithm = gnutls_pubkey_get_pk_algorithm(certificate.pubkey, nullptr);
  if (algorithm != GNUTLS_PK_EDDSA_ED25519) {
    why = fmt::format("the certificate's key is {}, not Ed25519",
                      gnutls_pk_get_name(static_cast<gnutls_pk_algorithm_t>(algorithm)));
  } else {
    gnutls_ecc_curve_t curve;
    gnutls_datum_t x{};
    if (gnutls_pubkey_export_ecc_raw2(certificate.pubkey, &curve, &x, nullptr, 0) >= 0) {
      key = NodeKey::FromBytes(absl::MakeConstSpan(x.data, x.size));
      gnutls_free(x.data);
    }
    if (!key) why = "the certificate's key cannot be read";
  }
  gnutls_pcert_deinit(&certificate);
  return key;
}

}  // namespace

TlsSession::TlsSession(gnutls_session_int* handle, const std::optional<NodeKey>& pinned)
    : handle_(handle), pinned_(pinned) {
  // ngtcp2 claims the session's own pointer. There is no session database, so its pointer is free.
  gnutls_db_set_ptr(handle_, this);
  gnutls_session_set_verify_function(handle_, &TlsSession::VerifyPeer);
}

TlsSession::TlsSession(gnutls_session_int* handle, Anonymous)
    : handle_(handle), peer_key_(NodeKey{}) {}

TlsSession::~TlsSession() { gnutls_deinit(handle_); }

int TlsSession::Refuse(int error, std::string why) {
  refusal_ = std::move(why);
  return error;
}

int TlsSession::VerifyPeer(gnutls_session_int* handle) {
  TlsSession& session = *static_cast<TlsSession*>(gnutls_db_get_ptr(handle));
  // GNUTLS_ALPN_MANDATORY covers a peer that offers other names; one that offers none is caught
  // here.
  gnutls_datum_t protocol{};
  if (gnutls_alpn_get_selected_protocol(handle, &protocol) < 0) {
    return session.Refuse(GNUTLS_E_NO_APPLICATION_PROTOCOL, "the peer named no protocol (ALPN)");
  }
  unsigned count = 0;
  const gnutls_datum_t* chain = gnutls_certificate_get_peers(handle, &count);
  if (chain == nullptr || count == 0) {
    return session.Refuse(GNUTLS_E_CERTIFICATE_REQUIRED, "the peer showed no certificate");
  }
  std::string why;
  const std::optional<NodeKey> key = Ed25519KeyOf(chain[0], why);
  if (!key) return session.Refuse(GNUTLS_E_CERTIFICATE_ERROR, std::move(why));
  if (session.pinned_ && *session.pinned_ != *key) {
    return session.Refuse(GNUTLS_E_CERTIFICATE_ERROR,
                          fmt::format("the peer's key is {}, expected {}", ToStrkey(*key),
                                      ToStrkey(*session.pinned_)));
  }
  session.peer_key_ = key;
  return 0;
}

absl::StatusOr<std::unique_ptr<TlsIdentity>> TlsIdentity::Create(const SecretSeed& seed) {
  std::unique_ptr<TlsIdentity> identity(new TlsIdentity);
  if (absl::Status status = identity->Init(seed); !status.ok()) return status;
  return identity;
}

absl::Status TlsIdentity::Init(const SecretSeed& seed) {
  node_key_ = PublicKeyOf(seed);
  absl::Status status = DeriveSecret(seed, "stateless reset", reset_secret_);
  if (status.ok()) status = DeriveSecret(seed, "retry token", retry_secret_);
  if (!status.ok()) return status;

  gnutls_x509_privkey_t key = nullptr;
  gnutls_x509_crt_t certificate = nullptr;
  const gnutls_datum_t x = DatumOf(node_key_.span());
  const gnutls_datum_t k = DatumOf(absl::MakeConstSpan(seed.bytes));
  int rv = gnutls_x509_privkey_init(&key);
  if (rv >= 0) {
    rv = gnutls_x509_privkey_import_ecc_raw(key, GNUTLS_ECC_CURVE_ED25519, &x, nullptr, &k);
  }
  if (rv >= 0) rv = gnutls_x509_crt_init(&certificate);
  if (rv >= 0) rv = FillCertificate(certificate, key);
  if (rv >= 0) rv = gnutls_certificate_allocate_credentials(&credentials_);
  if (rv >= 0) rv = gnutls_certificate_set_x509_key(credentials_, &certificate, 1, key);
  if (certificate != nullptr) gnutls_x509_crt_deinit(certificate);
  if (key != nullptr) gnutls_x509_privkey_deinit(key);
  if (rv < 0) return GnutlsError("making a certificate of the node key", rv);
  return absl::OkStatus();
}

TlsIdentity::~TlsIdentity() {
  if (credentials_ != nullptr) gnutls_certificate_free_credentials(credentials_);
}

absl::StatusOr<std::unique_ptr<TlsSession>> TlsIdentity::NewSession(
    unsigned flags, const std::optional<NodeKey>& pinned) const {
  gnutls_session_t handle = nullptr;
  int rv = gnutls_init(&handle, flags | GNUTLS_NO_TICKETS | GNUTLS_NO_AUTO_SEND_TICKET |
                                    GNUTLS_NO_END_OF_EARLY_DATA);
  if (rv < 0) return GnutlsError("making a TLS session", rv);
  auto session = std::make_unique<TlsSession>(handle, pinned);
  const gnutls_datum_t alpn = DatumOf(std::string_view(kAlpn));
  rv = gnutls_priority_set_direct(handle, kPriorities, nullptr);
  if (rv >= 0) rv = gnutls_credentials_set(handle, GNUTLS_CRD_CERTIFICATE, credentials_);
  if (rv >= 0) rv = gnutls_alpn_set_protocols(handle, &alpn, 1, GNUTLS_ALPN_MANDATORY);
  if (rv < 0) return GnutlsError("setting up a TLS session", rv);
  return session;
}

absl::StatusOr<std::unique_ptr<TlsSession>> TlsIdentity::NewClientSession(
    const std::optional<NodeKey>& pinned) const {
  absl::StatusOr<std::unique_ptr<TlsSession>> session = NewSession(GNUTLS_CLIENT, pinned);
  if (session.ok() && ngtcp2_crypto_gnutls_configure_client_session((*session)->handle()) != 0) {
    return absl::InternalError("setting up a TLS session for QUIC");
  }
  return session;
}

absl::StatusOr<std::unique_ptr<TlsSession>> TlsIdentity::NewServerSession() const {
  absl::StatusOr<std::unique_ptr<TlsSession>> session = NewSession(GNUTLS_SERVER, std::nullopt);
  if (!session.ok()) return session;
  gnutls_certificate_server_set_request((*session)->handle(), GNUTLS_CERT_REQUIRE);
  if (ngtcp2_crypto_gnutls_configure_server_session((*session)->handle()) != 0) {
    return absl::InternalError("setting up a TLS session for QUIC");
  }
  return session;
}

}  // namespace overlay::transport
