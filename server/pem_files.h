// server/pem_files.h
//
// Certificates and keys in PEM, read and checked before anything listens with them.
//
// Threads  start-up, before there are any.
#ifndef OVERLAY_SERVER_PEM_FILES_H_
#define OVERLAY_SERVER_PEM_FILES_H_

#include <string>

#include "absl/status/statusor.h"
#include "server/http3/web_identity.h"

namespace overlay::server {

// All of a file of 1 MiB at most. INVALID_ARGUMENT, naming the setting.
absl::StatusOr<std::string> ReadPem(const std::string& setting, const std::string& path);
// PREFIX.tls_cert and PREFIX.tls_key: a chain, and the private key of its first certificate.
// INVALID_ARGUMENT, naming the setting.
absl::StatusOr<PemPair> ReadPemPair(const std::string& prefix, const std::string& cert_path,
                                    const std::string& key_path);

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_PEM_FILES_H_
