#include "xds_client/compile/cluster_dns.h"

#include "envoy/extensions/network/dns_resolver/cares/v3/cares_dns_resolver.pb.h"
#include "xds_client/compile/common.h"

namespace pinnace::compile {
namespace {

namespace pb = envoy::config::cluster::v3;
using CaresDnsResolverConfig = envoy::extensions::network::dns_resolver::cares::v3::CaresDnsResolverConfig;

Result<DnsServers> servers_of(const envoy::config::core::v3::TypedExtensionConfig& proto) {
  DnsServers servers;
  if (!proto.has_typed_config()) return servers;
  CaresDnsResolverConfig config;
  if (!proto.typed_config().UnpackTo(&config)) {
    return error("'" + proto.name() + "' (" + proto.typed_config().type_url() + "): not supported by pinnace");
  }
  // udp_max_queries is how long c-ares keeps a socket, which nobody else sees.
  auto known = only_fields(
      config, {"resolvers", "dns_resolver_options", "udp_max_queries", "query_timeout_seconds", "query_tries"});
  if (!known) return known.error();
  for (const auto& resolver : config.resolvers()) {
    auto where = address(resolver);
    if (!where) return in("resolvers", where.error());
    if (!where->is_ip()) return error("resolvers: not an IP address");
    servers.addresses += (servers.addresses.empty() ? "" : ",") + where->text();
  }
  servers.tcp = config.dns_resolver_options().use_tcp_for_dns_lookups();
  servers.no_search_domain = config.dns_resolver_options().no_default_search_domain();
  if (config.has_query_timeout_seconds()) {
    uint64_t seconds = config.query_timeout_seconds().value();
    if (seconds == 0 || seconds > 3600) return error("query_timeout_seconds: must be from 1 to 3600");
    servers.timeout_ms = seconds * 1000;
  }
  if (config.has_query_tries()) {
    servers.tries = config.query_tries().value();
    if (servers.tries == 0 || servers.tries > 100) return error("query_tries: must be from 1 to 100");
  }
  return servers;
}

}  // namespace

Result<DnsSettings> dns_settings(const pb::Cluster& proto) {
  DnsSettings dns;
  auto servers = servers_of(proto.typed_dns_resolver_config());
  if (!servers) return in("typed_dns_resolver_config", servers.error());
  dns.servers = std::move(*servers);
  if (proto.has_dns_refresh_rate()) dns.refresh_ms = milliseconds(proto.dns_refresh_rate());
  if (proto.has_dns_jitter()) dns.jitter_ms = milliseconds(proto.dns_jitter());
  dns.respect_ttl = proto.respect_dns_ttl();
  switch (proto.dns_lookup_family()) {
    case pb::Cluster::V4_ONLY: dns.family = DnsSettings::Family::kV4Only; break;
    case pb::Cluster::V6_ONLY: dns.family = DnsSettings::Family::kV6Only; break;
    case pb::Cluster::V4_PREFERRED: dns.family = DnsSettings::Family::kV4Preferred; break;
    case pb::Cluster::ALL: dns.family = DnsSettings::Family::kAll; break;
    default: dns.family = DnsSettings::Family::kAuto;
  }
  return dns;
}

Result<bool> dns_targets(const pb::Cluster& proto, CompiledCluster& out) {
  auto factor = overprovisioning(proto.load_assignment());
  if (!factor) return factor.error();
  out.dns_overprovisioning_percent = *factor;
  for (const auto& locality : proto.load_assignment().endpoints()) {
    for (const auto& endpoint : locality.lb_endpoints()) {
      const auto& socket = endpoint.endpoint().address().socket_address();
      auto number = port(socket.port_value());
      if (!number) return number.error();
      auto prototype = endpoint_without_address(endpoint, locality.priority(), out.config->sockets);
      if (!prototype) return prototype.error();
      if (prototype->hostname.empty()) prototype->hostname = socket.address();
      out.dns_targets.push_back({socket.address(), *number, std::move(*prototype)});
    }
  }
  return true;
}

}  // namespace pinnace::compile
