// The listening sockets of the demo application.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <functional>
#include <string>

namespace pinnace::demo {

using Serve = std::function<boost::asio::awaitable<void>(boost::asio::ip::tcp::socket)>;

// Listens on `port` of every address, IPv6 and IPv4 (0: any free port), and starts `serve` for each connection until
// the io_context stops. Returns the port. ERRORS: throws boost::system::system_error.
unsigned short listen(boost::asio::io_context& loop, unsigned short port, Serve serve);

// A server context with that certificate; of the protocols a client offers it takes http/1.1. ERRORS: as above.
boost::asio::ssl::context make_server_tls(const std::string& certificate_file, const std::string& key_file);

}  // namespace pinnace::demo
