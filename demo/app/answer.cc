#include "demo/app/answer.h"

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json.hpp>
#include <chrono>

#include "demo/app/outgoing_call.h"
#include "demo/app/url.h"

namespace pinnace::demo {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
namespace json = boost::json;

// What an application hands on so that its own calls belong to the request that caused them.
constexpr std::string_view kForwarded[] = {"x-request-id", "traceparent", "tracestate"};

json::object describe(const Identity& self, const Downstream& from, const Request& request, std::string_view path) {
  json::array headers;
  for (const auto& field : request)
    headers.push_back(json::array{printable(field.name_string()), printable(field.value())});
  json::object document{
      {"service", self.name},
      {"version", self.version},
      {"method", std::string_view(request.method_string())},
      {"path", printable(path)},
      {"host", printable(request[http::field::host])},
      {"peer", from.peer},
      {"headers", std::move(headers)},
  };
  if (!from.tls_version.empty())
    document["tls"] = json::object{{"version", from.tls_version}, {"sni", printable(from.server_name)}};
  return document;
}

void set_json(Response& response, const json::object& document) {
  response.set(http::field::content_type, "application/json");
  response.body() = json::serialize(document) + "\n";
}

void refuse(Response& response, json::object document, std::string_view reason) {
  response.result(http::status::bad_request);
  document["error"] = reason;
  set_json(response, document);
}

// "name: value" as it came decoded out of a query: anything that could end a header line makes it none.
std::optional<std::pair<std::string, std::string>> parse_header(std::string_view text) {
  const size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  const bool clean = printable(text) == text && text.find_first_of("\n\t") == std::string_view::npos;
  if (colon == std::string_view::npos || name.empty() || name.find(' ') != std::string_view::npos || !clean)
    return std::nullopt;
  std::string_view value = text.substr(colon + 1);
  value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
  return std::pair(std::string(name), std::string(value));
}

Headers headers_of_call(const Request& request, const Target& target) {
  Headers headers;
  for (std::string_view name : kForwarded)
    if (const auto found = request.find(name); found != request.end()) headers.emplace_back(name, found->value());
  for (const auto& [name, value] : target.query)
    if (auto header = parse_header(value); name == "header" && header) headers.push_back(std::move(*header));
  return headers;
}

bool is_echoed(http::verb method) {
  return method == http::verb::post || method == http::verb::put || method == http::verb::patch;
}

// "/status/503" with prefix "/status/" is 503.
std::optional<unsigned> number_after(std::string_view prefix, std::string_view path) {
  if (!path.starts_with(prefix)) return std::nullopt;
  return parse_number(path.substr(prefix.size()));
}

asio::awaitable<void> answer_call(Response& response, json::object document, const Request& request,
                                  const Target& target) {
  const std::string text = target.value_of("url").value_or("");
  const std::optional<HttpUrl> url = parse_http_url(text);
  if (!url) {
    refuse(response, std::move(document), "url= must be http://host[:port]/path");
    co_return;
  }
  const CallOutcome outcome = co_await call(*url, headers_of_call(request, target));
  json::object shown{{"url", printable(text)}};
  if (outcome.error.empty()) {
    json::array headers;
    for (const auto& [name, value] : outcome.headers) headers.push_back(json::array{printable(name), printable(value)});
    boost::system::error_code not_json;
    json::value body = json::parse(outcome.body, not_json);
    shown["status"] = outcome.status;
    shown["headers"] = std::move(headers);
    shown["body"] = not_json ? json::value(printable(outcome.body)) : std::move(body);
  } else {
    response.result(http::status::bad_gateway);
    shown["error"] = outcome.error;
  }
  document["call"] = std::move(shown);
  set_json(response, document);
}

}  // namespace

asio::awaitable<Response> answer(const Identity& self, const Downstream& from, const Request& request) {
  const Target target = parse_target({request.target().data(), request.target().size()});
  Response response(http::status::ok, request.version());
  response.set("x-served-by", self.name + "-" + self.version);
  json::object document = describe(self, from, request, {request.target().data(), request.target().size()});

  if (const auto milliseconds = number_after("/delay/", target.path)) {
    asio::steady_timer timer(co_await asio::this_coro::executor, std::chrono::milliseconds(*milliseconds));
    co_await timer.async_wait(asio::use_awaitable);
  }
  const auto status = number_after("/status/", target.path);
  const auto size = target.value_of("size");
  if (status) {
    if (*status < 200 || *status > 599) {
      refuse(response, std::move(document), "a status is 200 to 599");
    } else {
      response.result(*status);
      set_json(response, document);
    }
  } else if (target.path == "/call") {
    co_await answer_call(response, std::move(document), request, target);
  } else if (size) {
    const auto bytes = parse_number(*size);
    if (bytes && *bytes <= kMaxBody) {
      response.set(http::field::content_type, "application/octet-stream");
      response.body().assign(*bytes, 'x');
    } else {
      refuse(response, std::move(document), "size= is at most 64 MiB");
    }
  } else if (is_echoed(request.method())) {
    if (const auto type = request.find(http::field::content_type); type != request.end())
      response.set(http::field::content_type, type->value());
    response.body() = request.body();
  } else {
    set_json(response, document);
  }
  co_return response;
}

}  // namespace pinnace::demo
