#include "demo/app/outgoing_call.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <chrono>

namespace pinnace::demo {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;

constexpr auto kDeadline = std::chrono::seconds(30);
constexpr size_t kMaxAnswer = 1 << 20;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

CallOutcome failed(std::string_view step, const boost::system::error_code& error) {
  CallOutcome outcome;
  outcome.error = std::string(step) + ": " + error.message();
  return outcome;
}

}  // namespace

asio::awaitable<CallOutcome> call(const HttpUrl& url, const Headers& headers) {
  const auto executor = co_await asio::this_coro::executor;
  asio::ip::tcp::resolver resolver(executor);
  auto [no_name, addresses] = co_await resolver.async_resolve(url.host, url.port, kToken);
  if (no_name) co_return failed("resolve", no_name);

  beast::tcp_stream stream(executor);
  stream.expires_after(kDeadline);
  if (auto [error, _] = co_await stream.async_connect(addresses, kToken); error) co_return failed("connect", error);

  http::request<http::empty_body> request(http::verb::get, url.target, 11);
  request.set(http::field::host, url.authority);
  request.set(http::field::user_agent, "pinnace-demo-app");
  request.keep_alive(false);
  for (const auto& [name, value] : headers) request.set(name, value);
  if (auto [error, _] = co_await http::async_write(stream, request, kToken); error) co_return failed("send", error);

  beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.body_limit(kMaxAnswer);
  if (auto [error, _] = co_await http::async_read(stream, buffer, parser, kToken); error)
    co_return failed("receive", error);

  CallOutcome outcome;
  outcome.status = parser.get().result_int();
  for (const auto& field : parser.get()) outcome.headers.emplace_back(field.name_string(), field.value());
  outcome.body = std::move(parser.get().body());
  co_return outcome;
}

std::string printable(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if ((c < ' ' || c > '~') && c != '\n' && c != '\t') c = '?';
  return out;
}

}  // namespace pinnace::demo
