#include "demo/app/listeners.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>

namespace pinnace::demo {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

tcp::acceptor open_acceptor(asio::io_context& loop, unsigned short port) {
  tcp::acceptor acceptor(loop);
  boost::system::error_code no_ipv6;
  acceptor.open(tcp::v6(), no_ipv6);
  if (no_ipv6) acceptor.open(tcp::v4());
  else acceptor.set_option(asio::ip::v6_only(false));
  acceptor.set_option(tcp::acceptor::reuse_address(true));
  acceptor.bind({no_ipv6 ? tcp::v4() : tcp::v6(), port});
  acceptor.listen();
  return acceptor;
}

asio::awaitable<void> accept_all(tcp::acceptor acceptor, Serve serve) {
  for (;;) {
    auto [error, socket] = co_await acceptor.async_accept(kToken);
    if (!error) {
      boost::system::error_code ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      asio::co_spawn(acceptor.get_executor(), serve(std::move(socket)), asio::detached);
      continue;
    }
    // Out of descriptors, or a connection that went while it waited: neither may spin nor end the service.
    asio::steady_timer pause(acceptor.get_executor(), std::chrono::milliseconds(50));
    co_await pause.async_wait(kToken);
  }
}

int choose_http11(SSL*, const unsigned char** out, unsigned char* out_length, const unsigned char* offered,
                  unsigned int offered_length, void*) {
  static constexpr unsigned char kHttp11[] = "\x08http/1.1";
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_length, kHttp11, sizeof(kHttp11) - 1, offered, offered_length) !=
      OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_NOACK;
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

}  // namespace

unsigned short listen(asio::io_context& loop, unsigned short port, Serve serve) {
  tcp::acceptor acceptor = open_acceptor(loop, port);
  const unsigned short bound = acceptor.local_endpoint().port();
  asio::co_spawn(loop, accept_all(std::move(acceptor), std::move(serve)), asio::detached);
  return bound;
}

asio::ssl::context make_server_tls(const std::string& certificate_file, const std::string& key_file) {
  asio::ssl::context context(asio::ssl::context::tls_server);
  context.use_certificate_chain_file(certificate_file);
  context.use_private_key_file(key_file, asio::ssl::context::pem);
  SSL_CTX_set_min_proto_version(context.native_handle(), TLS1_2_VERSION);
  SSL_CTX_set_alpn_select_cb(context.native_handle(), choose_http11, nullptr);
  return context;
}

}  // namespace pinnace::demo
