#include "server/pem_files.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "transport/tls_files.h"

namespace overlay::server {
namespace {

constexpr size_t kPemBytesMax = 1 << 20;

absl::Status Wrong(const std::string& setting, const std::string& path,
                   const std::string& expected) {
  return absl::InvalidArgumentError(
      fmt::format("{}: \"{}\" is not legal, expected {}", setting, path, expected));
}

}  // namespace

absl::StatusOr<std::string> ReadPem(const std::string& setting, const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::string text(kPemBytesMax + 1, '\0');
  if (stream) stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!stream.is_open() || stream.bad()) {
    return Wrong(setting, path, fmt::format("a readable PEM file ({})", std::strerror(errno)));
  }
  text.resize(static_cast<size_t>(stream.gcount()));
  if (text.size() > kPemBytesMax) return Wrong(setting, path, "at most 1 MiB");
  return text;
}

absl::StatusOr<PemPair> ReadPemPair(const std::string& prefix, const std::string& cert_path,
                                    const std::string& key_path) {
  const std::string cert_setting = prefix + ".tls_cert";
  const std::string key_setting = prefix + ".tls_key";
  absl::StatusOr<std::string> cert = ReadPem(cert_setting, cert_path);
  if (!cert.ok()) return cert.status();
  absl::StatusOr<std::string> key = ReadPem(key_setting, key_path);
  if (!key.ok()) return key.status();
  if (const absl::Status good = transport::CheckCertificateChain(*cert); !good.ok()) {
    return Wrong(cert_setting, cert_path,
                 fmt::format("certificates in PEM ({})", std::string(good.message())));
  }
  if (const absl::Status good = transport::CheckPrivateKey(*key, *cert); !good.ok()) {
    return Wrong(key_setting, key_path,
                 fmt::format("the private key of {} in PEM, without a passphrase ({})",
                             cert_setting, std::string(good.message())));
  }
  return PemPair{*std::move(cert), *std::move(key)};
}

}  // namespace overlay::server
