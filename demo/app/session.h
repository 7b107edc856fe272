// One accepted connection of the demo application, from its first byte to its end.
// THREAD: all on the one io_context. ERRORS: a connection that breaks just ends.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>

#include "demo/app/identity.h"

namespace pinnace::demo {

enum class TcpMode { kGreet, kEcho };

// HTTP/1.1 with keep-alive and pipelining.
boost::asio::awaitable<void> serve_http(boost::asio::ip::tcp::socket socket, const Identity& self);

// The same over TLS.
boost::asio::awaitable<void> serve_https(boost::asio::ip::tcp::socket socket, const Identity& self,
                                         boost::asio::ssl::context& tls);

// kGreet: "hello from NAME VERSION\n" before anything is received; then, as kEcho, what comes is sent back.
boost::asio::awaitable<void> serve_tcp(boost::asio::ip::tcp::socket socket, const Identity& self, TcpMode mode);

}  // namespace pinnace::demo
