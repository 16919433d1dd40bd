#include "transport/tls_files.h"

#include <fmt/format.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

namespace overlay::transport {
namespace {

constexpr unsigned kChainLengthMax = 1'000;

gnutls_datum_t Datum(const std::string& text) {
  return {reinterpret_cast<unsigned char*>(const_cast<char*>(text.data())),
          static_cast<unsigned>(text.size())};
}

absl::Status Wrong(int error) { return absl::InvalidArgumentError(gnutls_strerror(error)); }

}  // namespace

absl::Status CheckCertificateChain(const std::string& pem) {
  const gnutls_datum_t data = Datum(pem);
  gnutls_x509_crt_t* certificates = nullptr;
  unsigned count = 0;
  const int rv = gnutls_x509_crt_list_import2(&certificates, &count, &data, GNUTLS_X509_FMT_PEM, 0);
  if (rv < 0) return Wrong(rv);
  for (unsigned i = 0; i < count; ++i) gnutls_x509_crt_deinit(certificates[i]);
  gnutls_free(certificates);
  if (count == 0 || count > kChainLengthMax) {
    return absl::InvalidArgumentError(fmt::format("{} certificates", count));
  }
  return absl::OkStatus();
}

absl::Status CheckPrivateKey(const std::string& key_pem, const std::string& chain_pem) {
  gnutls_certificate_credentials_t credentials = nullptr;
  if (const int rv = gnutls_certificate_allocate_credentials(&credentials); rv < 0)
    return Wrong(rv);
  const gnutls_datum_t key = Datum(key_pem);
  const gnutls_datum_t chain = Datum(chain_pem);
  const int rv =
      gnutls_certificate_set_x509_key_mem(credentials, &chain, &key, GNUTLS_X509_FMT_PEM);
  gnutls_certificate_free_credentials(credentials);
  return rv < 0 ? Wrong(rv) : absl::OkStatus();
}

}  // namespace overlay::transport
