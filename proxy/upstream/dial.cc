#include "proxy/upstream/dial.h"

#include <algorithm>

#include "proxy/upstream/proxy_header.h"
#include "tls/context.h"

namespace pinnace::upstream {
namespace {

std::vector<std::string> split(std::string_view list) {
  std::vector<std::string> out;
  while (!list.empty()) {
    size_t comma = std::min(list.find(','), list.size());
    out.emplace_back(list.substr(0, comma));
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return out;
}

// ENVOY: the first of the endpoint's family; without one the first, with which the connection then fails.
base::Address bind_address(const model::ClusterConfig& config, const base::Address& to) {
  if (config.bind_addresses.empty() || !to.is_ip()) return {};
  for (const auto& address : config.bind_addresses) {
    if (address.kind() == to.kind()) return address;
  }
  return config.bind_addresses.front();
}

}  // namespace

std::unique_ptr<net::Connection> dial(base::EventLoop& loop, const tls::ContextTable& tls,
                                      const model::ClusterConfig& config, const model::Endpoint& endpoint,
                                      const DialOptions& options) {
  net::Source own{bind_address(config, endpoint.address)};
  auto connection =
      net::Connection::connect(loop, endpoint.address, options.from ? *options.from : own, config.connect_timeout_ms);
  if (config.keepalive && connection->fd() >= 0 && endpoint.address.is_ip()) {
    net::set_keepalive(connection->fd(), *config.keepalive);
  }
  connection->set_buffer_limit(config.buffer_limit);
  if (config.prologue) connection->set_prologue(config.prologue->make(loop.cells()));
  const model::TransportSocket& socket = config.sockets[endpoint.socket];
  if (socket.proxy_protocol != model::ProxyProtocol::kNone) {
    connection->set_preamble(proxy_header(socket.proxy_protocol, options.source, options.destination));
  }
  if (socket.tls) {
    tls::ContextPtr context = tls.find(socket.tls->context_id);
    if (context) {
      tls::ClientOptions client;
      client.session_scope = endpoint.address.hash();
      // ENVOY: an IP address is no server name (RFC 6066 3), but may be in a certificate.
      bool name = !options.sni.empty() && !base::Address::ip(options.sni, 0);
      if (socket.tls->auto_sni && name) client.sni = options.sni;
      client.alpn = split(options.alpn);
      if (client.alpn.empty() && socket.tls->alpn.empty()) client.alpn = split(options.fallback_alpn);
      if (socket.tls->auto_san_validation) client.expected_san = options.sni;
      connection->set_transport(tls::make_client(loop, tls, std::move(context), socket.tls, client));
    } else {
      connection->set_transport(tls::make_unready("TLS_error:|the secrets of this cluster have not been delivered"));
    }
  }
  connection->start(config.connect_timeout_ms);
  return connection;
}

}  // namespace pinnace::upstream
