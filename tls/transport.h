// Transport: TLS on one connection over OpenSSL, with a BIO of our own that takes ciphertext straight from the loop's
// scratch memory and puts it there, so that an idle connection holds no buffers.
// THREAD, LIFETIME: its connection's.
#pragma once

#include "tls/context.h"

namespace pinnace::tls {

class Transport final : public net::SecureTransport {
 public:
  Transport(base::EventLoop& loop, ContextPtr context, bool server);
  ~Transport() override;

  Status receive(net::Bytes cipher, uint8_t* plain, size_t room, size_t& produced, bool& more) override;
  void keep_input() override;
  Status send(net::Bytes plain) override;
  Status handshake() override;
  bool handshake_done() const override { return done_; }
  void shutdown() override;
  net::Bytes output() const override;
  void output_consumed(size_t n) override;
  void keep_output() override;
  bool hold_output() override;
  size_t output_size() const override { return held_.size() + out_.size() + scratch_used_; }
  const net::TlsInfo& info() const override { return info_; }
  const std::string& failure_reason() const override { return failure_; }
  net::TlsFault fault() const override { return fault_; }

  // Client only.
  void set_client(const ContextTable& table, std::shared_ptr<const model::UpstreamTls> tls,
                  const ClientOptions& options);
  void set_wants_peer_pem(bool wants) { wants_peer_pem_ = wants; }

  // OpenSSL's callbacks.
  static Transport& of(const SSL* ssl);
  static int index();
  std::string check_peer(X509* certificate) const;
  void note_verify_failure(std::string why, net::TlsFault fault) {
    verify_failure_ = std::move(why);
    fault_ = fault;
  }
  void new_session(SSL_SESSION* session);
  int bio_read(char* to, int size);
  int bio_write(const char* from, int size);

 private:
  Status failed();
  void finish();

  base::EventLoop& loop_;
  ContextPtr context_;
  SSL* ssl_;
  net::Bytes in_;            // of the current receive()
  base::Chain kept_;         // ciphertext that waits, before in_
  base::Chain out_;          // ciphertext that waits to be sent
  size_t scratch_used_ = 0;  // and what follows it, in the loop's scratch
  net::Bytes held_;          // or, instead of both, in its outbox
  net::TlsInfo info_;
  std::string failure_, verify_failure_;
  net::TlsFault fault_ = net::TlsFault::kNone;
  std::shared_ptr<const model::UpstreamTls> tls_;
  std::string expected_san_;
  const ContextTable* table_ = nullptr;
  uint64_t session_key_ = 0;
  bool done_ = false;
  bool server_;
  bool wants_peer_pem_ = false;
};

}  // namespace pinnace::tls
