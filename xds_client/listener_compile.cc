#include "xds_client/listener_compile.h"

#include <algorithm>

#include "filters/access_loggers/compile.h"
#include "filters/registry.h"
#include "proxy/filter/network_filter.h"
#include "proxy/route/chain_match.h"
#include "xds_client/compile/common.h"
#include "xds_client/compile/tls.h"

namespace pinnace::compile {
namespace {

namespace pb = envoy::config::listener::v3;
using ChainPtr = std::shared_ptr<const model::FilterChain>;

Result<model::FilterChainMatch> chain_match(const pb::FilterChainMatch& proto) {
  auto known = only_fields(
      proto, {"destination_port", "prefix_ranges", "server_names", "transport_protocol", "application_protocols",
              "source_type", "source_prefix_ranges", "source_ports", "direct_source_prefix_ranges"});
  if (!known) return known.error();
  model::FilterChainMatch out;
  if (proto.has_destination_port()) out.destination_port = static_cast<uint16_t>(proto.destination_port().value());
  auto ranges = [](const auto& protos, std::vector<base::Cidr>& to) -> Result<bool> {
    for (const auto& range : protos) {
      auto compiled = cidr(range);
      if (!compiled) return compiled.error();
      to.push_back(*compiled);
    }
    return true;
  };
  for (auto* result : {&proto}) {
    auto prefix = ranges(result->prefix_ranges(), out.prefix_ranges);
    if (!prefix) return in("prefix_ranges", prefix.error());
    auto source = ranges(result->source_prefix_ranges(), out.source_ranges);
    if (!source) return in("source_prefix_ranges", source.error());
    auto direct = ranges(result->direct_source_prefix_ranges(), out.direct_source_ranges);
    if (!direct) return in("direct_source_prefix_ranges", direct.error());
  }
  for (const auto& name : proto.server_names()) {
    if (name.find('*') != std::string::npos && name.substr(0, 2) != "*.") {
      return error("server_names: '" + name + "' has a wildcard in the wrong place");
    }
    out.server_names.push_back(lower(name));
  }
  out.transport_protocol = proto.transport_protocol();
  out.application_protocols.assign(proto.application_protocols().begin(), proto.application_protocols().end());
  out.source_type = static_cast<model::FilterChainMatch::SourceType>(proto.source_type());
  for (uint32_t port : proto.source_ports()) out.source_ports.push_back(static_cast<uint16_t>(port));
  return out;
}

Result<bool> network_filters(const pb::FilterChain& proto, model::FilterChain& out, Context& context) {
  for (const auto& filter : proto.filters()) {
    if (out.filter) return error("filters: '" + filter.name() + "' comes after the terminal filter");
    auto compiled = filters::compile_network_filter(filter.name(), filter.typed_config(), context);
    if (!compiled) return compiled.error();
    if (compiled->prologue && out.prologue) return error("filters: more than one that speaks first");
    if (compiled->prologue) out.prologue = std::move(compiled->prologue);
    if (compiled->observer) out.observers.push_back(std::move(compiled->observer));
    if (compiled->terminal) out.filter = std::move(compiled->terminal);
  }
  if (!out.filter) return error("filters: no terminal filter");
  if (!out.observers.empty() && !out.filter->can_be_observed()) {
    return error("filters: a filter that watches TCP connections can only stand before tcp_proxy");
  }
  return true;
}

Result<ChainPtr> filter_chain(const pb::FilterChain& proto, const model::ListenerConfig* previous, Context& context) {
  // What a chain's filters are compiled to depends on its listener's direction too.
  uint64_t hash = content_hash(proto) + static_cast<uint64_t>(context.direction);
  if (previous) {
    if (previous->default_chain && previous->default_chain->content_hash == hash) return previous->default_chain;
    for (const auto& old : previous->chains) {
      if (old->content_hash == hash) return old;
    }
  }
  auto known = only_fields(proto, {"filter_chain_match", "filters", "metadata", "transport_socket",
                                   "transport_socket_connect_timeout", "name"});
  if (!known) return known.error();
  auto chain = std::make_shared<model::FilterChain>();
  chain->name = proto.name();
  chain->content_hash = hash;
  auto match = chain_match(proto.filter_chain_match());
  if (!match) return in("filter_chain_match", match.error());
  chain->match = std::move(*match);
  auto tls = downstream_transport(proto.transport_socket(), context);
  if (!tls) return tls.error();
  chain->tls = *tls;
  chain->handshake_timeout_ms = milliseconds(proto.transport_socket_connect_timeout());
  auto compiled = network_filters(proto, *chain, context);
  if (!compiled) return compiled.error();
  if (chain->tls) chain->tls->wants_peer_pem = chain->filter->wants_peer_certificate();
  return ChainPtr(std::move(chain));
}

model::ListenerStats make_stats(const std::string& address, stats::Store& store) {
  std::string text = address;
  std::replace(text.begin(), text.end(), ':', '_');  // ENVOY: listener.0.0.0.0_80.
  std::string prefix = "listener." + text + ".";
  auto counter = [&](const char* leaf) { return store.counter(prefix + leaf); };
  model::ListenerStats s;
  s.cx_total = counter("downstream_cx_total");
  s.cx_destroy = counter("downstream_cx_destroy");
  s.cx_overflow = counter("downstream_cx_overflow");
  s.global_cx_overflow = counter("downstream_global_cx_overflow");
  s.no_filter_chain_match = counter("no_filter_chain_match");
  s.pre_cx_timeout = counter("downstream_pre_cx_timeout");
  s.cx_active = store.gauge(prefix + "downstream_cx_active");
  s.pre_cx_active = store.gauge(prefix + "downstream_pre_cx_active");
  s.ssl_connection_error = counter("ssl.connection_error");
  s.ssl_handshake = counter("ssl.handshake");
  s.ssl_session_reused = counter("ssl.session_reused");
  s.ssl_fail_verify_error = counter("ssl.fail_verify_error");
  s.ssl_fail_verify_no_cert = counter("ssl.fail_verify_no_cert");
  s.ssl_fail_verify_san = counter("ssl.fail_verify_san");
  return s;
}

// A listener logs the connections that no chain takes; other logs belong to the chains' filters.
bool only_unmatched(const envoy::config::accesslog::v3::AccessLogFilter& filter) {
  if (filter.has_response_flag_filter()) {
    const auto& flags = filter.response_flag_filter().flags();
    return flags.size() == 1 && flags[0] == "NR";
  }
  if (filter.has_and_filter()) {
    const auto& all = filter.and_filter().filters();
    return std::any_of(all.begin(), all.end(), only_unmatched);
  }
  return false;
}

}  // namespace

Result<CompiledListener> listener(const pb::Listener& proto, const model::ListenerConfig* previous, Context& context) {
  auto known = only_fields(proto, {"name",
                                   "address",
                                   "additional_addresses",
                                   "stat_prefix",
                                   "filter_chains",
                                   "use_original_dst",
                                   "default_filter_chain",
                                   "per_connection_buffer_limit_bytes",
                                   "metadata",
                                   "listener_filters",
                                   "listener_filters_timeout",
                                   "continue_on_listener_filters_timeout",
                                   "transparent",
                                   "traffic_direction",
                                   "access_log",
                                   "tcp_backlog_size",
                                   "max_connections_to_accept_per_socket_event",
                                   "bind_to_port",
                                   "enable_reuse_port",
                                   "ignore_global_conn_limit",
                                   "bypass_overload_manager",
                                   "connection_balance_config",
                                   "drain_type"});
  if (!known) return known.error();
  context.direction = static_cast<model::TrafficDirection>(proto.traffic_direction());
  CompiledListener out;
  auto config = std::make_shared<model::ListenerConfig>();
  auto where = address(proto.address());
  if (!where) return in("address", where.error());
  config->addresses.push_back(*where);
  for (const auto& additional : proto.additional_addresses()) {
    auto known_address = only_fields(additional, {"address"});
    if (!known_address) return in("additional_addresses", known_address.error());
    auto more = address(additional.address());
    if (!more) return in("additional_addresses", more.error());
    config->addresses.push_back(*more);
  }
  config->name = proto.name().empty() ? where->text() : proto.name();
  config->bind_to_port = !proto.has_bind_to_port() || proto.bind_to_port().value();
  config->use_original_dst = proto.use_original_dst().value();
  config->transparent = proto.transparent().value();
  config->ipv4_compat = proto.address().socket_address().ipv4_compat();
  config->reuse_port = !proto.has_enable_reuse_port() || proto.enable_reuse_port().value();
  config->exact_balance = proto.connection_balance_config().has_exact_balance();
  if (proto.connection_balance_config().has_extend_balance()) {
    return error("connection_balance_config.extend_balance: not supported by pinnace");
  }
  config->ignore_connection_limit = proto.ignore_global_conn_limit() || proto.bypass_overload_manager();
  if (proto.has_tcp_backlog_size()) config->backlog = proto.tcp_backlog_size().value();
  config->accepts_per_event = proto.max_connections_to_accept_per_socket_event().value();
  if (proto.has_per_connection_buffer_limit_bytes())
    config->buffer_limit = proto.per_connection_buffer_limit_bytes().value();
  if (proto.address().has_pipe()) config->pipe_mode = proto.address().pipe().mode();
  config->direction = static_cast<model::TrafficDirection>(proto.traffic_direction());
  if (proto.has_listener_filters_timeout()) config->filters_timeout_ms = milliseconds(proto.listener_filters_timeout());
  config->drains_when_unhealthy = proto.drain_type() == pb::Listener::DEFAULT;
  config->continue_on_timeout = proto.continue_on_listener_filters_timeout();
  config->istio_config = istio_config(proto.metadata());
  for (const auto& filter : proto.listener_filters()) {
    auto compiled = filters::compile_listener_filter(filter);
    if (!compiled) return in("listener_filters", compiled.error());
    config->filters.push_back(std::move(*compiled));
  }
  for (int i = 0; i < proto.filter_chains_size(); i++) {
    auto chain = filter_chain(proto.filter_chains(i), previous, context);
    if (!chain) {
      const auto& name = proto.filter_chains(i).name();
      return in("filter_chains[" + (name.empty() ? std::to_string(i) : name) + "]", chain.error());
    }
    config->chains.push_back(std::move(*chain));
  }
  if (proto.has_default_filter_chain()) {
    auto chain = filter_chain(proto.default_filter_chain(), previous, context);
    if (!chain) return in("default_filter_chain", chain.error());
    config->default_chain = std::move(*chain);
  }
  if (config->chains.empty() && !config->default_chain) return error("filter_chains: empty");
  auto index = route::ChainIndex::build(config->chains, config->default_chain);
  if (!index) return index.error();
  config->index = std::move(*index);
  for (const auto& log : proto.access_log()) {
    if (!only_unmatched(log.filter())) {
      return error("access_log[" + log.name() + "]: of a listener only with a response_flag_filter for NR");
    }
  }
  auto logs = filters::access_logs(proto.access_log(), context);
  if (!logs) return logs.error();
  config->access_logs = std::move(*logs);
  config->stats = make_stats(proto.stat_prefix().empty() ? where->text() : proto.stat_prefix(), context.stats);

  auto chains = config->chains;
  if (config->default_chain) chains.push_back(config->default_chain);
  for (const auto& chain : chains) {
    if (chain->tls) out.tls_contexts.push_back(chain->tls->context_id);
    chain->filter->route_dependencies(out.routes);
    chain->filter->extension_places(out.extensions);
  }
  out.config = std::move(config);
  return out;
}

}  // namespace pinnace::compile
