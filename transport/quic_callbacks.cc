// What ngtcp2 tells us while it reads or writes: turned into events and connection ids, nothing
// else. None of these may call ngtcp2 functions that read or write packets.
#include <algorithm>

#include "flood/base/crypto.h"
#include "transport/quic_connection_impl.h"

namespace overlay::transport {
namespace {

// The decrypt callback is told no connection. The loop is one thread and a read is not reentrant,
// but tests and fuzzers may run several loops.
thread_local bool decrypted_something = false;

using Impl = QuicConnection::Impl;

Impl& ImplOf(void* user_data) { return *static_cast<Impl*>(user_data); }

void Report(Impl& impl, QuicEvent::What what) {
  // Without `events` ngtcp2 was called by a command; nothing that it can report then matters.
  if (impl.events != nullptr) impl.events->Add(impl.id, std::move(what));
}

int OnDecrypt(uint8_t* dest, const ngtcp2_crypto_aead* aead, const ngtcp2_crypto_aead_ctx* aead_ctx,
              const uint8_t* ciphertext, size_t ciphertext_bytes, const uint8_t* nonce,
              size_t nonce_bytes, const uint8_t* aad, size_t aad_bytes) {
  const int rv = ngtcp2_crypto_decrypt_cb(dest, aead, aead_ctx, ciphertext, ciphertext_bytes, nonce,
                                          nonce_bytes, aad, aad_bytes);
  if (rv == 0) decrypted_something = true;
  return rv;
}

void OnRand(uint8_t* dest, size_t bytes, const ngtcp2_rand_ctx* context) {
  static_cast<Random*>(context->native_handle)->Fill(absl::MakeSpan(dest, bytes));
}

int OnHandshakeCompleted(ngtcp2_conn* conn, void* user_data) {
  Impl& impl = ImplOf(user_data);
  if (!impl.tls->peer_key())
    return NGTCP2_ERR_CALLBACK_FAILURE;  // no handshake without a proven key
  impl.peer_key = *impl.tls->peer_key();
  impl.completed = true;
  impl.state = ConnectionState::kOpen;
  impl.RestoreKeepAlive();
  Report(impl, HandshakeCompleted{impl.peer_key});
  if (ngtcp2_conn_is_server(conn) != 0) {
    impl.confirmed = true;
    Report(impl, HandshakeConfirmed{});
  }
  return 0;
}

int OnHandshakeConfirmed(ngtcp2_conn*, void* user_data) {
  Impl& impl = ImplOf(user_data);
  if (impl.confirmed) return 0;
  impl.confirmed = true;
  Report(impl, HandshakeConfirmed{});
  return 0;
}

int OnStreamOpen(ngtcp2_conn*, int64_t stream, void* user_data) {
  Report(ImplOf(user_data), StreamOpened{stream});
  return 0;
}

int OnStreamData(ngtcp2_conn*, uint32_t flags, int64_t stream, uint64_t offset, const uint8_t* data,
                 size_t bytes, void* user_data, void*) {
  Impl& impl = ImplOf(user_data);
  if (impl.events == nullptr) return 0;
  impl.events->Add(impl.id,
                   StreamData{stream, offset, impl.events->Keep(absl::MakeConstSpan(data, bytes)),
                              (flags & NGTCP2_STREAM_DATA_FLAG_FIN) != 0});
  return 0;
}

int OnStreamReset(ngtcp2_conn*, int64_t stream, uint64_t /*final_size*/, uint64_t code,
                  void* user_data, void*) {
  Report(ImplOf(user_data), StreamReset{stream, code});
  return 0;
}

int OnAcked(ngtcp2_conn*, int64_t stream, uint64_t offset, uint64_t bytes, void* user_data, void*) {
  Impl& impl = ImplOf(user_data);
  const uint64_t acked = offset + bytes;
  if (auto it = impl.sending.find(stream); it != impl.sending.end()) {
    auto& held = it->second.held;
    auto first = std::find_if(held.begin(), held.end(),
                              [acked](const Impl::Held& h) { return h.end > acked; });
    // The chunk at the end may be packed further; its reference goes when the stream closes.
    if (first == held.end() && !held.empty()) first = held.end() - 1;
    held.erase(held.begin(), first);
  }
  Report(impl, StreamAcked{stream, acked});
  return 0;
}

int OnStreamClose(ngtcp2_conn* conn, uint32_t flags, int64_t stream, uint64_t code, void* user_data,
                  void*) {
  Impl& impl = ImplOf(user_data);
  impl.lost_stream_packets += ngtcp2_conn_get_stream_loss_count(conn, stream);
  impl.sending.erase(stream);
  StreamClosed closed{stream, std::nullopt};
  if ((flags & NGTCP2_STREAM_CLOSE_FLAG_APP_ERROR_CODE_SET) != 0) closed.code = code;
  Report(impl, closed);
  return 0;
}

int OnMoreUniStreams(ngtcp2_conn*, uint64_t, void* user_data) {
  Impl& impl = ImplOf(user_data);
  if (impl.completed) Report(impl, StreamsCredit{.uni = true});
  return 0;
}

int OnMoreBidiStreams(ngtcp2_conn*, uint64_t, void* user_data) {
  Impl& impl = ImplOf(user_data);
  if (impl.completed) Report(impl, StreamsCredit{.uni = false});
  return 0;
}

int OnMoreStreamData(ngtcp2_conn*, int64_t stream, uint64_t, void* user_data, void*) {
  Impl& impl = ImplOf(user_data);
  if (impl.completed) Report(impl, StreamCredit{stream});
  return 0;
}

int OnStatelessReset(ngtcp2_conn*, const ngtcp2_pkt_stateless_reset*, void* user_data) {
  ImplOf(user_data).stateless_reset = true;
  return 0;
}

int OnNewCid(ngtcp2_conn*, ngtcp2_cid* cid, uint8_t* token, size_t cid_bytes, void* user_data) {
  Impl& impl = ImplOf(user_data);
  FillUnpredictable(impl.random, absl::MakeSpan(cid->data, cid_bytes));
  cid->datalen = cid_bytes;
  const auto& secret = impl.identity.reset_secret();
  if (ngtcp2_crypto_generate_stateless_reset_token(token, secret.data(), secret.size(), cid) != 0) {
    return NGTCP2_ERR_CALLBACK_FAILURE;
  }
  impl.cid_changes.push_back({FromNgCid(*cid), true});
  return 0;
}

int OnRetiredCid(ngtcp2_conn*, const ngtcp2_cid* cid, void* user_data) {
  ImplOf(user_data).cid_changes.push_back({FromNgCid(*cid), false});
  return 0;
}

int OnPathChallenge(ngtcp2_conn*, uint8_t* data, void* user_data) {
  FillUnpredictable(ImplOf(user_data).random, absl::MakeSpan(data, NGTCP2_PATH_CHALLENGE_DATALEN));
  return 0;
}

int OnPathValidation(ngtcp2_conn*, uint32_t, const ngtcp2_path* path, const ngtcp2_path* old_path,
                     ngtcp2_path_validation_result result, void* user_data) {
  Impl& impl = ImplOf(user_data);
  if (result == NGTCP2_PATH_VALIDATION_RESULT_SUCCESS && old_path != nullptr) {
    Report(impl, PathChanged{FromNgPath(*path)});
  }
  return 0;
}

}  // namespace

void FillUnpredictable(Random& random, absl::Span<uint8_t> out) {
  while (!out.empty()) {
    std::array<uint8_t, 32> drawn;
    random.Fill(absl::MakeSpan(drawn));
    const std::array<uint8_t, 32> hashed = Sha256(drawn);
    const size_t bytes = std::min(out.size(), hashed.size());
    std::copy_n(hashed.begin(), bytes, out.begin());
    out.remove_prefix(bytes);
  }
}

QuicCid NewLocalCid(Random& random) {
  QuicCid cid;
  cid.size = kLocalCidBytes;
  FillUnpredictable(random, absl::MakeSpan(cid.bytes).first(kLocalCidBytes));
  return cid;
}

bool TakeDecryptedSomething() { return std::exchange(decrypted_something, false); }

ngtcp2_callbacks QuicCallbacks() {
  ngtcp2_callbacks callbacks{};
  callbacks.client_initial = ngtcp2_crypto_client_initial_cb;
  callbacks.recv_client_initial = ngtcp2_crypto_recv_client_initial_cb;
  callbacks.recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb;
  callbacks.encrypt = ngtcp2_crypto_encrypt_cb;
  callbacks.decrypt = OnDecrypt;
  callbacks.hp_mask = ngtcp2_crypto_hp_mask_cb;
  callbacks.recv_retry = ngtcp2_crypto_recv_retry_cb;
  callbacks.update_key = ngtcp2_crypto_update_key_cb;
  callbacks.delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb;
  callbacks.delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb;
  callbacks.version_negotiation = ngtcp2_crypto_version_negotiation_cb;
  callbacks.rand = OnRand;
  callbacks.get_new_connection_id = OnNewCid;
  callbacks.remove_connection_id = OnRetiredCid;
  callbacks.get_path_challenge_data = OnPathChallenge;
  callbacks.path_validation = OnPathValidation;
  callbacks.handshake_completed = OnHandshakeCompleted;
  callbacks.handshake_confirmed = OnHandshakeConfirmed;
  callbacks.stream_open = OnStreamOpen;
  callbacks.recv_stream_data = OnStreamData;
  callbacks.stream_reset = OnStreamReset;
  callbacks.acked_stream_data_offset = OnAcked;
  callbacks.stream_close = OnStreamClose;
  callbacks.extend_max_local_streams_uni = OnMoreUniStreams;
  callbacks.extend_max_local_streams_bidi = OnMoreBidiStreams;
  callbacks.extend_max_stream_data = OnMoreStreamData;
  callbacks.recv_stateless_reset = OnStatelessReset;
  return callbacks;
}

}  // namespace overlay::transport
