// transport/tls_files.h
//
// Whether PEM texts can serve a TLS listener, before one is made of them: the gRPC server would
// take anything and fail at the first handshake.
//
// Threads  any; no state.
#ifndef OVERLAY_TRANSPORT_TLS_FILES_H_
#define OVERLAY_TRANSPORT_TLS_FILES_H_

#include <string>

#include "absl/status/status.h"

namespace overlay::transport {

// INVALID_ARGUMENT, saying what is wrong.
absl::Status CheckCertificateChain(const std::string& pem);
// A private key without a passphrase, which belongs to the first certificate of the chain.
absl::Status CheckPrivateKey(const std::string& key_pem, const std::string& chain_pem);

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_TLS_FILES_H_
