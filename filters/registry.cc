#include "filters/registry.h"

#include <algorithm>
#include <iterator>

#include "envoy/extensions/filters/http/cors/v3/cors.pb.h"
#include "envoy/extensions/filters/http/fault/v3/fault.pb.h"
#include "envoy/extensions/filters/listener/http_inspector/v3/http_inspector.pb.h"
#include "envoy/extensions/filters/listener/original_dst/v3/original_dst.pb.h"
#include "envoy/extensions/filters/listener/original_src/v3/original_src.pb.h"
#include "envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol.pb.h"
#include "envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.pb.h"
#include "envoy/extensions/filters/network/mongo_proxy/v3/mongo_proxy.pb.h"
#include "filters/http/alpn/compile.h"
#include "filters/http/compressor/compile.h"
#include "filters/http/grpc_stats/compile.h"
#include "filters/http/grpc_web/grpc_web.h"
#include "filters/http/peer_metadata/compile.h"
#include "filters/http/router/compile.h"
#include "filters/istio_stats/compile.h"
#include "filters/network/http_connection_manager/compile.h"
#include "filters/network/metadata_exchange/compile.h"
#include "filters/network/tcp_proxy/compile.h"
#include "xds_client/compile/typed_struct.h"

namespace pinnace::filters {
namespace {

using google::protobuf::Any;
using HttpFilterPtr = std::shared_ptr<const filter::HttpFilterConfig>;

// A filter that acts only on per-route configuration (cors) or on fields that must be empty (fault) is inert here:
// routes with such configuration are refused where they are compiled.
Result<HttpFilterPtr> inert_cors(const Any&, Context&) { return HttpFilterPtr(); }

Result<HttpFilterPtr> inert_fault(const Any& any, Context&) {
  envoy::extensions::filters::http::fault::v3::HTTPFault fault;
  if (!any.UnpackTo(&fault)) return error("typed_config does not parse");
  auto known = compile::only_fields(fault, {});
  if (!known) return known.error();
  return HttpFilterPtr();
}

Result<HttpFilterPtr> compile_grpc_web(const Any&, Context&) {  // it has no fields
  return HttpFilterPtr(std::make_shared<grpc_web::GrpcWebConfig>());
}

struct HttpEntry {
  const char* type;
  Result<HttpFilterPtr> (*compile)(const Any&, Context&);
};
constexpr HttpEntry kHttpFilters[] = {
    {"envoy.extensions.filters.http.router.v3.Router", router::compile},
    {"envoy.extensions.filters.http.compressor.v3.Compressor", compressor::compile},
    {"envoy.extensions.filters.http.cors.v3.Cors", inert_cors},
    {"envoy.extensions.filters.http.fault.v3.HTTPFault", inert_fault},
    {"envoy.extensions.filters.http.grpc_stats.v3.FilterConfig", grpc_stats::compile},
    {"envoy.extensions.filters.http.grpc_web.v3.GrpcWeb", compile_grpc_web},
    {"istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig", alpn::compile},
    {"io.istio.http.peer_metadata.Config", peer_metadata::compile},
    {"stats.PluginConfig", istio_stats::compile_http},
};

// Compile's result becomes that member.
template <auto Compile, auto Member>
Result<NetworkFilter> as(const Any& any, Context& context) {
  auto compiled = Compile(any, context);
  if (!compiled) return compiled.error();
  NetworkFilter out;
  out.*Member = std::move(*compiled);
  return out;
}

// It watches and counts what passes, which we do not; nothing of it changes a byte.
Result<NetworkFilter> inert_mongo(const Any& any, Context&) {
  envoy::extensions::filters::network::mongo_proxy::v3::MongoProxy mongo;
  if (!any.UnpackTo(&mongo)) return error("typed_config does not parse");
  auto known = compile::only_fields(mongo, {"stat_prefix", "commands"});
  if (!known) return known.error();
  return NetworkFilter();
}

struct NetworkEntry {
  const char* type;
  Result<NetworkFilter> (*compile)(const Any&, Context&);
};
constexpr NetworkEntry kNetworkFilters[] = {
    {"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
     as<hcm::compile, &NetworkFilter::terminal>},
    {"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", as<tcp_proxy::compile, &NetworkFilter::terminal>},
    {"envoy.tcp.metadataexchange.config.MetadataExchange", as<metadata_exchange::compile, &NetworkFilter::prologue>},
    {"envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy", inert_mongo},
    {"stats.PluginConfig", as<istio_stats::compile_tcp, &NetworkFilter::observer>},
};

struct ListenerEntry {
  const char* type;
  model::ListenerFilterKind kind;
};
constexpr ListenerEntry kListenerFilters[] = {
    {"envoy.extensions.filters.listener.original_dst.v3.OriginalDst", model::ListenerFilterKind::kOriginalDst},
    {"envoy.extensions.filters.listener.original_src.v3.OriginalSrc", model::ListenerFilterKind::kOriginalSrc},
    {"envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", model::ListenerFilterKind::kTlsInspector},
    {"envoy.extensions.filters.listener.http_inspector.v3.HttpInspector", model::ListenerFilterKind::kHttpInspector},
    {"envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol", model::ListenerFilterKind::kProxyProtocol},
};

template <class Table>
auto find(const Table& table, const Any& any) {
  std::string type = type_of(any);
  auto at = std::begin(table);
  while (at != std::end(table) && type != at->type) ++at;
  return at;
}

Error unknown(const char* what, const std::string& name, const Any& any) {
  return error(std::string(what) + " '" + name + "' (" + type_of(any) + "): not supported by pinnace");
}

Result<model::ListenerPredicate> predicate(
    const envoy::config::listener::v3::ListenerFilterChainMatchPredicate& proto) {
  using Proto = envoy::config::listener::v3::ListenerFilterChainMatchPredicate;
  using Kind = model::ListenerPredicate::Kind;
  model::ListenerPredicate out;
  auto add = [&](const Proto& rule) -> Result<bool> {
    auto compiled = predicate(rule);
    if (!compiled) return compiled.error();
    out.rules.push_back(std::move(*compiled));
    return true;
  };
  switch (proto.rule_case()) {
    case Proto::kAnyMatch: out.kind = Kind::kAny; break;
    case Proto::kDestinationPortRange:
      out.kind = Kind::kPortRange;
      out.port_start = static_cast<uint16_t>(proto.destination_port_range().start());
      out.port_end = static_cast<uint32_t>(proto.destination_port_range().end());
      break;
    case Proto::kNotMatch: {
      out.kind = Kind::kNot;
      auto added = add(proto.not_match());
      if (!added) return added.error();
      break;
    }
    case Proto::kOrMatch:
    case Proto::kAndMatch: {
      bool is_or = proto.rule_case() == Proto::kOrMatch;
      out.kind = is_or ? Kind::kOr : Kind::kAnd;
      for (const auto& rule : is_or ? proto.or_match().rules() : proto.and_match().rules()) {
        auto added = add(rule);
        if (!added) return added.error();
      }
      break;
    }
    case Proto::RULE_NOT_SET: return error("filter_disabled: no rule");
  }
  return out;
}

}  // namespace

std::string type_of(const Any& any) {
  size_t slash = any.type_url().rfind('/');
  return slash == std::string::npos ? any.type_url() : any.type_url().substr(slash + 1);
}

bool knows_http_filter(const std::string& type) {
  return std::any_of(std::begin(kHttpFilters), std::end(kHttpFilters), [&](const auto& e) { return type == e.type; });
}

Result<HttpFilterPtr> compile_http_filter(const std::string& name, const Any& config, Context& context) {
  auto plain = compile::unwrap(config);
  if (!plain) return compile::in("HTTP filter '" + name + "'", plain.error());
  auto entry = find(kHttpFilters, *plain);
  if (entry == std::end(kHttpFilters)) return unknown("HTTP filter", name, *plain);
  auto compiled = entry->compile(*plain, context);
  if (!compiled) return compile::in("HTTP filter '" + name + "'", compiled.error());
  return compiled;
}

Result<NetworkFilter> compile_network_filter(const std::string& name, const Any& config, Context& context) {
  auto plain = compile::unwrap(config);
  if (!plain) return compile::in("network filter '" + name + "'", plain.error());
  auto entry = find(kNetworkFilters, *plain);
  if (entry == std::end(kNetworkFilters)) return unknown("network filter", name, *plain);
  auto compiled = entry->compile(*plain, context);
  if (!compiled) return compile::in("network filter '" + name + "'", compiled.error());
  return compiled;
}

Result<model::ListenerFilterConfig> compile_listener_filter(const envoy::config::listener::v3::ListenerFilter& proto) {
  auto entry = find(kListenerFilters, proto.typed_config());
  if (entry == std::end(kListenerFilters)) return unknown("listener filter", proto.name(), proto.typed_config());
  model::ListenerFilterConfig out{entry->kind};
  if (entry->kind == model::ListenerFilterKind::kProxyProtocol) {
    envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol config;
    if (!proto.typed_config().UnpackTo(&config)) return error("proxy_protocol: typed_config does not parse");
    auto known = compile::only_fields(config, {"allow_requests_without_proxy_protocol", "stat_prefix"});
    if (!known) return compile::in("proxy_protocol", known.error());
    out.header_optional = config.allow_requests_without_proxy_protocol();
  }
  if (entry->kind == model::ListenerFilterKind::kTlsInspector) {
    // How much is peeked at once is ours to choose.
    envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector config;
    if (!proto.typed_config().UnpackTo(&config)) return error("tls_inspector: typed_config does not parse");
    auto known = compile::only_fields(config, {"initial_read_buffer_size"});
    if (!known) return compile::in("tls_inspector", known.error());
  }
  if (entry->kind == model::ListenerFilterKind::kOriginalSrc) {
    envoy::extensions::filters::listener::original_src::v3::OriginalSrc config;
    if (!proto.typed_config().UnpackTo(&config)) return error("original_src: typed_config does not parse");
    out.mark = config.mark();
    out.bind_port = config.bind_port();
  }
  if (proto.has_filter_disabled()) {
    auto compiled = predicate(proto.filter_disabled());
    if (!compiled) return compiled.error();
    out.disabled = std::move(*compiled);
  }
  return out;
}

}  // namespace pinnace::filters
