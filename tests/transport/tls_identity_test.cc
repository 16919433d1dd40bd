// Who is let in: peers that break the rules of the handshake, played by TLS sessions of the test's
// own.
#include "transport/tls_identity.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto_gnutls.h>

#include <chrono>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/quic_pair.h"
#include "tests/support/status_matchers.h"

namespace overlay::transport {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

// TLS alerts as QUIC carries them.
constexpr uint64_t kAlertBadCertificate = 0x12a;
constexpr uint64_t kAlertHandshakeFailure = 0x128;
constexpr uint64_t kAlertCertificateRequired = 0x174;
constexpr uint64_t kAlertNoApplicationProtocol = 0x178;

struct Rogue {
  std::string alpn = kAlpn;  // empty: none
  bool certificate = true;
  gnutls_pk_algorithm_t key = GNUTLS_PK_EDDSA_ED25519;
  unsigned key_bits = 0;
  std::string priorities = "NORMAL:-VERS-ALL:+VERS-TLS1.3:%DISABLE_TLS13_COMPAT_MODE";
};

// A dialler or acceptor with any key, any protocol name, and no opinion about the other.
class RogueIdentity : public TlsIdentity {
 public:
  explicit RogueIdentity(const Rogue& rogue) : rogue_(rogue) {
    EXPECT_OK(Init(QuicPair::SeedOf(99)));
    EXPECT_EQ(gnutls_certificate_allocate_credentials(&credentials_), 0);
    if (!rogue.certificate) return;
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t certificate;
    gnutls_x509_privkey_init(&key);
    gnutls_x509_crt_init(&certificate);
    EXPECT_EQ(gnutls_x509_privkey_generate(key, rogue.key, rogue.key_bits, 0), 0);
    const uint8_t serial = 1;
    gnutls_x509_crt_set_version(certificate, 3);
    gnutls_x509_crt_set_serial(certificate, &serial, 1);
    // Long over: dates are not looked at.
    gnutls_x509_crt_set_activation_time(certificate, 1'000);
    gnutls_x509_crt_set_expiration_time(certificate, 2'000);
    gnutls_x509_crt_set_key(certificate, key);
    const auto digest =
        rogue.key == GNUTLS_PK_EDDSA_ED25519 ? GNUTLS_DIG_SHA512 : GNUTLS_DIG_SHA256;
    EXPECT_EQ(gnutls_x509_crt_sign2(certificate, certificate, key, digest, 0), 0);
    EXPECT_EQ(gnutls_certificate_set_x509_key(credentials_, &certificate, 1, key), 0);
    gnutls_x509_crt_deinit(certificate);
    gnutls_x509_privkey_deinit(key);
  }
  ~RogueIdentity() override { gnutls_certificate_free_credentials(credentials_); }

  absl::StatusOr<std::unique_ptr<TlsSession>> NewClientSession(
      const std::optional<NodeKey>& pinned) const override {
    auto session = NewSession(GNUTLS_CLIENT, pinned);
    EXPECT_EQ(ngtcp2_crypto_gnutls_configure_client_session(session->handle()), 0);
    return session;
  }
  absl::StatusOr<std::unique_ptr<TlsSession>> NewServerSession() const override {
    auto session = NewSession(GNUTLS_SERVER, std::nullopt);
    gnutls_certificate_server_set_request(session->handle(), GNUTLS_CERT_REQUEST);
    EXPECT_EQ(ngtcp2_crypto_gnutls_configure_server_session(session->handle()), 0);
    return session;
  }

  // As long as its connection lives.
  gnutls_session_t last_session() const { return last_session_; }

 private:
  std::unique_ptr<TlsSession> NewSession(unsigned flags,
                                         const std::optional<NodeKey>& pinned) const {
    gnutls_session_t handle;
    EXPECT_EQ(
        gnutls_init(&handle, flags | GNUTLS_NO_AUTO_SEND_TICKET | GNUTLS_NO_END_OF_EARLY_DATA), 0);
    auto session = std::make_unique<TlsSession>(handle, pinned);
    last_session_ = handle;
    EXPECT_EQ(gnutls_priority_set_direct(handle, rogue_.priorities.c_str(), nullptr), 0);
    EXPECT_EQ(gnutls_credentials_set(handle, GNUTLS_CRD_CERTIFICATE, credentials_), 0);
    if (!rogue_.alpn.empty()) {
      gnutls_datum_t name{reinterpret_cast<uint8_t*>(const_cast<char*>(rogue_.alpn.data())),
                          static_cast<unsigned>(rogue_.alpn.size())};
      EXPECT_EQ(gnutls_alpn_set_protocols(handle, &name, 1, 0), 0);
    }
    return session;
  }

  Rogue rogue_;
  gnutls_certificate_credentials_t credentials_ = nullptr;
  mutable gnutls_session_t last_session_ = nullptr;
};

struct Refusal {
  CloseInfo dialler;
  CloseInfo acceptor;
};

Refusal DialAndFail(QuicPair& pair, const std::optional<NodeKey>& pinned = std::nullopt) {
  const ConnectionId id = pair.dialler().Dial(pinned);
  EXPECT_TRUE(pair.RunUntil([&] { return pair.dialler().log(id).closed_count == 1; }, 5s));
  pair.RunFor(1s);
  Refusal refusal;
  refusal.dialler = pair.dialler().log(id).closed;
  for (const auto& [other, log] : pair.acceptor().logs()) {
    EXPECT_EQ(log.closed_count, 1);
    refusal.acceptor = log.closed;
  }
  return refusal;
}

TEST(TlsIdentity, TheKeyIsTheIdentityAndTheDatesAreNot) {
  Rogue expired;
  QuicPairOptions options;
  options.dialler_identity = std::make_unique<RogueIdentity>(expired);
  QuicPair pair(std::move(options));
  pair.Connect();
}

TEST(TlsIdentity, WrongProtocolNameIsRefusedByName) {
  QuicPairOptions options;
  options.dialler_identity = std::make_unique<RogueIdentity>(Rogue{.alpn = "h3"});
  QuicPair pair(std::move(options));
  const Refusal refusal = DialAndFail(pair);
  EXPECT_EQ(refusal.dialler.cause, CloseCause::kPeerTransport);
  EXPECT_EQ(refusal.dialler.code, kAlertNoApplicationProtocol);
  EXPECT_EQ(refusal.acceptor.cause, CloseCause::kLocalTransport);
  EXPECT_EQ(refusal.acceptor.code, kAlertNoApplicationProtocol);
  EXPECT_FALSE(refusal.acceptor.was_up);
}

TEST(TlsIdentity, NoProtocolNameIsRefused) {
  QuicPairOptions options;
  options.dialler_identity = std::make_unique<RogueIdentity>(Rogue{.alpn = ""});
  QuicPair pair(std::move(options));
  // Either side may be the first to notice.
  const Refusal refusal = DialAndFail(pair);
  EXPECT_EQ(refusal.dialler.code, kAlertNoApplicationProtocol);
  EXPECT_EQ(refusal.acceptor.code, kAlertNoApplicationProtocol);
}

TEST(TlsIdentity, AnAcceptorThatPicksNoProtocolIsRefused) {
  QuicPairOptions options;
  options.acceptor_identity = std::make_unique<RogueIdentity>(Rogue{.alpn = ""});
  QuicPair pair(std::move(options));
  const Refusal refusal = DialAndFail(pair);
  EXPECT_EQ(refusal.dialler.cause, CloseCause::kLocalTransport);
  EXPECT_EQ(refusal.dialler.code, kAlertNoApplicationProtocol);
}

TEST(TlsIdentity, NoCertificateIsRefused) {
  QuicPairOptions options;
  options.dialler_identity = std::make_unique<RogueIdentity>(Rogue{.certificate = false});
  QuicPair pair(std::move(options));
  const Refusal refusal = DialAndFail(pair);
  EXPECT_EQ(refusal.dialler.cause, CloseCause::kPeerTransport);
  EXPECT_EQ(refusal.dialler.code, kAlertCertificateRequired);
  EXPECT_EQ(refusal.acceptor.code, kAlertCertificateRequired);
}

// A key of another kind ends in one of three alerts, depending on which side notices first.
TEST(TlsIdentity, OtherKeysThanEd25519AreRefused) {
  const auto refused =
      testing::AnyOf(kAlertBadCertificate, kAlertHandshakeFailure, kAlertCertificateRequired);
  for (const auto& [key, bits] :
       {std::pair{GNUTLS_PK_RSA, 2048u}, std::pair{GNUTLS_PK_ECDSA, 256u}}) {
    {
      QuicPairOptions options;
      options.dialler_identity =
          std::make_unique<RogueIdentity>(Rogue{.key = key, .key_bits = bits});
      QuicPair pair(std::move(options));
      const Refusal refusal = DialAndFail(pair);
      EXPECT_EQ(refusal.acceptor.cause, CloseCause::kLocalTransport);
      EXPECT_THAT(refusal.acceptor.code, refused);
      EXPECT_THAT(refusal.dialler.code, refused);
    }
    {
      QuicPairOptions options;
      options.acceptor_identity =
          std::make_unique<RogueIdentity>(Rogue{.key = key, .key_bits = bits});
      QuicPair pair(std::move(options));
      EXPECT_THAT(DialAndFail(pair).dialler.code, refused);
    }
  }
}

// Whatever else a peer offers, AES-128-GCM and X25519 are what is used; a peer without them is
// refused.
TEST(TlsIdentity, OnlyTheChosenGroupAndVersion) {
  QuicPairOptions options;
  options.dialler_identity = std::make_unique<RogueIdentity>(
      Rogue{.priorities = "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-SECP256R1"
                          ":%DISABLE_TLS13_COMPAT_MODE"});
  QuicPair pair(std::move(options));
  EXPECT_THAT(DialAndFail(pair).dialler.code,
              testing::AnyOf(kAlertHandshakeFailure, 0x12fu /* illegal_parameter */));
}

// ChaCha20 costs seven times as much here: a peer that prefers it gets AES-128-GCM all the same.
TEST(TlsIdentity, Aes128IsChosenThoughThePeerPrefersAnother) {
  QuicPairOptions options;
  auto identity = std::make_unique<RogueIdentity>(Rogue{
      .priorities = "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+CHACHA20-POLY1305:+AES-128-GCM"
                    ":%DISABLE_TLS13_COMPAT_MODE"});
  const RogueIdentity& rogue = *identity;
  options.dialler_identity = std::move(identity);
  QuicPair pair(std::move(options));
  pair.Connect();
  EXPECT_EQ(gnutls_cipher_get(rogue.last_session()), GNUTLS_CIPHER_AES_128_GCM);
}

TEST(TlsIdentity, APinnedKeyAcceptsNoOther) {
  QuicPair pair({});
  const NodeKey right = pair.acceptor().identity().node_key();
  NodeKey wrong = right;
  wrong.bytes[0] ^= 1;
  const Refusal refusal = DialAndFail(pair, wrong);
  EXPECT_EQ(refusal.dialler.cause, CloseCause::kLocalTransport);
  EXPECT_EQ(refusal.dialler.code, kAlertBadCertificate);
  EXPECT_THAT(refusal.dialler.reason, HasSubstr(ToStrkey(right)));
  EXPECT_THAT(refusal.dialler.reason, HasSubstr(ToStrkey(wrong)));
  const ConnectionId id = pair.dialler().Dial(right);
  EXPECT_TRUE(pair.RunUntil([&] { return pair.dialler().IsUp(id); }, 5s));
}

TEST(TlsIdentity, SecretsDependOnTheKeyAlone) {
  absl::StatusOr<std::unique_ptr<TlsIdentity>> a = TlsIdentity::Create(QuicPair::SeedOf(1));
  absl::StatusOr<std::unique_ptr<TlsIdentity>> again = TlsIdentity::Create(QuicPair::SeedOf(1));
  absl::StatusOr<std::unique_ptr<TlsIdentity>> b = TlsIdentity::Create(QuicPair::SeedOf(2));
  ASSERT_OK(a);
  ASSERT_OK(again);
  ASSERT_OK(b);
  EXPECT_EQ((*a)->reset_secret(), (*again)->reset_secret());
  EXPECT_EQ((*a)->retry_secret(), (*again)->retry_secret());
  EXPECT_NE((*a)->reset_secret(), (*b)->reset_secret());
  EXPECT_NE((*a)->reset_secret(), (*a)->retry_secret());
  EXPECT_EQ((*a)->node_key(), PublicKeyOf(QuicPair::SeedOf(1)));
}

}  // namespace
}  // namespace overlay::transport
