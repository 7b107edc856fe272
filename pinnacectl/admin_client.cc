#include "pinnacectl/admin_client.h"

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/json/parse.hpp>

namespace pinnace::ctl {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

Result<std::string> get(const std::string& address, const std::string& target) {
  size_t colon = address.rfind(':');
  if (colon == std::string::npos) return error("'" + address + "' is not HOST:PORT");
  auto failed = [&](const boost::system::error_code& why) {
    return error("no answer from " + address + ": " + why.message() +
                 " (is the proxy running, and is this its admin address?)");
  };
  asio::io_context context;
  boost::system::error_code code;
  asio::ip::tcp::resolver resolver(context);
  auto found = resolver.resolve(address.substr(0, colon), address.substr(colon + 1), code);
  if (code) return failed(code);
  beast::tcp_stream stream(context);
  stream.connect(found, code);
  if (code) return failed(code);
  http::request<http::empty_body> request(http::verb::get, target, 11);
  request.set(http::field::host, address);
  http::write(stream, request, code);
  if (code) return failed(code);
  beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.body_limit(boost::none);
  http::read(stream, buffer, parser, code);
  if (code) return failed(code);
  const auto& response = parser.get();
  if (response.result_int() >= 400 && target != "/ready") {
    return error(address + target + " answered " + std::to_string(response.result_int()) + ": " + response.body());
  }
  return response.body();
}

Result<boost::json::value> get_json(const std::string& address, const std::string& target) {
  auto text = get(address, target);
  if (!text) return text.error();
  boost::system::error_code code;
  auto value = boost::json::parse(*text, code);
  if (code) return error(address + target + ": no JSON: " + code.message());
  return value;
}

}  // namespace pinnace::ctl
