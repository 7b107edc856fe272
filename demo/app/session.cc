#include "demo/app/session.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/ostream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <cstdio>

#include "demo/app/answer.h"

namespace pinnace::demo {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

// Without the form that a dual-stack socket gives IPv4 addresses.
std::string peer_of(const tcp::socket& socket) {
  boost::system::error_code error;
  const asio::ip::address address = socket.remote_endpoint(error).address();
  if (address.is_v6() && address.to_v6().is_v4_mapped())
    return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()).to_string();
  return address.to_string();
}

void log_request(const Identity& self, const Downstream& from, const Request& request, const Response& response) {
  const std::string_view method = request.method_string();
  std::printf("%s-%s %s \"%.*s %.*s\" %u %zu\n", self.name.c_str(), self.version.c_str(), from.peer.c_str(),
              static_cast<int>(method.size()), method.data(), static_cast<int>(request.target().size()),
              request.target().data(), response.result_int(), response.body().size());
  std::fflush(stdout);
}

template <class Stream>
asio::awaitable<bool> send(Stream& stream, Response& response, bool with_body) {
  if (with_body) {
    auto [error, _] = co_await http::async_write(stream, response, kToken);
    co_return !error;
  }
  http::response<http::empty_body> head(std::move(response.base()));  // content-length is already set
  http::response_serializer<http::empty_body> serializer(head);
  auto [error, _] = co_await http::async_write_header(stream, serializer, kToken);
  co_return !error;
}

// To a request that does not parse, so that whoever looks on the other side knows why the connection ends.
template <class Stream>
asio::awaitable<void> refuse(Stream& stream, const boost::system::error_code& reason) {
  const bool too_large = reason == http::error::body_limit;
  Response response(too_large ? http::status::payload_too_large : http::status::bad_request, 11);
  response.body() = reason.message() + "\n";
  response.keep_alive(false);
  response.prepare_payload();
  co_await send(stream, response, true);
}

bool is_http_error(const boost::system::error_code& error) {
  return error.category() == http::make_error_code(http::error::end_of_stream).category() &&
         error != http::error::end_of_stream && error != http::error::partial_message;
}

template <class Stream>
asio::awaitable<void> serve(Stream& stream, const Identity& self, const Downstream& from) {
  beast::flat_buffer buffer;
  for (bool open = true; open;) {
    http::request_parser<http::string_body> parser;
    parser.body_limit(kMaxBody);
    auto [error, _] = co_await http::async_read_header(stream, buffer, parser, kToken);
    if (!error && beast::iequals(parser.get()[http::field::expect], "100-continue")) {
      http::response<http::empty_body> go_on(http::status::continue_, 11);
      http::response_serializer<http::empty_body> serializer(go_on);
      std::tie(error, _) = co_await http::async_write_header(stream, serializer, kToken);
    }
    if (!error) std::tie(error, _) = co_await http::async_read(stream, buffer, parser, kToken);
    if (error) {
      if (is_http_error(error)) co_await refuse(stream, error);
      co_return;
    }
    const Request request = parser.release();
    Response response = co_await answer(self, from, request);
    response.keep_alive(request.keep_alive());
    const unsigned status = response.result_int();
    if (status != 204 && status != 304) response.prepare_payload();
    else response.body().clear();
    log_request(self, from, request, response);
    open = co_await send(stream, response, request.method() != http::verb::head) && request.keep_alive();
  }
}

}  // namespace

asio::awaitable<void> serve_http(tcp::socket socket, const Identity& self) {
  const Downstream from{peer_of(socket), "", ""};
  co_await serve(socket, self, from);
  boost::system::error_code ignored;
  socket.shutdown(tcp::socket::shutdown_send, ignored);
}

asio::awaitable<void> serve_https(tcp::socket socket, const Identity& self, asio::ssl::context& tls) {
  Downstream from{peer_of(socket), "", ""};
  asio::ssl::stream<tcp::socket> stream(std::move(socket), tls);
  auto [error] = co_await stream.async_handshake(asio::ssl::stream_base::server, kToken);
  if (error) {
    std::printf("%s-%s %s TLS handshake failed: %s\n", self.name.c_str(), self.version.c_str(), from.peer.c_str(),
                error.message().c_str());
    std::fflush(stdout);
    co_return;
  }
  const char* server_name = SSL_get_servername(stream.native_handle(), TLSEXT_NAMETYPE_host_name);
  from.server_name = server_name != nullptr ? server_name : "";
  from.tls_version = SSL_get_version(stream.native_handle());
  co_await serve(stream, self, from);
  co_await stream.async_shutdown(kToken);
}

asio::awaitable<void> serve_tcp(tcp::socket socket, const Identity& self, TcpMode mode) {
  if (mode == TcpMode::kGreet) {
    const std::string greeting = "hello from " + self.name + " " + self.version + "\n";
    if (auto [error, _] = co_await asio::async_write(socket, asio::buffer(greeting), kToken); error) co_return;
  }
  char block[16384];
  for (;;) {
    auto [end, size] = co_await socket.async_read_some(asio::buffer(block), kToken);
    if (end) break;
    if (auto [error, _] = co_await asio::async_write(socket, asio::buffer(block, size), kToken); error) co_return;
  }
  boost::system::error_code ignored;
  socket.shutdown(tcp::socket::shutdown_send, ignored);
}

}  // namespace pinnace::demo
