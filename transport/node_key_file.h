// transport/node_key_file.h
//
// The node's secret key as a file: one line with the strkey seed (S...), readable by its owner
// alone; or root's, and readable by a group of ours when we are not root, as mounted secrets are.
//
// Messages never repeat the key. They name the file and what to do.
#ifndef OVERLAY_TRANSPORT_NODE_KEY_FILE_H_
#define OVERLAY_TRANSPORT_NODE_KEY_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "flood/base/crypto.h"

namespace overlay::transport {

//   NOT_FOUND            no such file
//   PERMISSION_DENIED    not readable by us, or readable or writable by group or others (the
//                        message has the chmod)
//   INVALID_ARGUMENT     not a regular file, or its content is not one strkey seed
absl::StatusOr<SecretSeed> LoadNodeKeyFile(const std::string& path);

// A new key from the kernel's generator. INTERNAL when it fails.
absl::StatusOr<SecretSeed> GenerateNodeKey();

// Writes the key with mode 0600, durably. ALREADY_EXISTS rather than overwrite; else what the file
// system says (NOT_FOUND, PERMISSION_DENIED, INTERNAL), and no file is left behind.
absl::Status WriteNodeKeyFile(const std::string& path, const SecretSeed& seed);

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_NODE_KEY_FILE_H_
