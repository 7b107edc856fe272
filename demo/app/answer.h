// What the demo application answers to a request.
//   /status/CODE         that status
//   /delay/MS            after that time
//   /call?url=U          makes a request to U as an application of this pod would, and shows what came back;
//                        &header=name:value (any number) is sent along. 502 when U could not be reached
//   POST, PUT, PATCH     the body comes back
//   ?size=N              N bytes instead of the JSON document
//   anything else        a JSON document that shows the request as it arrived
// Every answer carries x-served-by: NAME-VERSION.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>
#include <string>

#include "demo/app/identity.h"

namespace pinnace::demo {

using Request = boost::beast::http::request<boost::beast::http::string_body>;
using Response = boost::beast::http::response<boost::beast::http::string_body>;

constexpr size_t kMaxBody = 64 << 20;  // of a request, and of ?size=

// The connection that a request came on.
struct Downstream {
  std::string peer;         // its IP address
  std::string server_name;  // TLS only
  std::string tls_version;  // empty: plain text
};

boost::asio::awaitable<Response> answer(const Identity& self, const Downstream& from, const Request& request);

}  // namespace pinnace::demo
