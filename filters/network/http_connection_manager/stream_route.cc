// Stream's route: which it is, what it demands before any filter runs, and the answers it gives by itself.
#include "filters/network/http_connection_manager/connection.h"
#include "filters/network/http_connection_manager/redirect.h"
#include "filters/network/http_connection_manager/stream.h"
#include "proxy/http/grpc.h"
#include "proxy/route/match.h"

namespace pinnace::filters::hcm {

using filter::LocalReply;
using http::Flag;
using http::HeaderId;

bool Stream::resolve_route() {
  const Settings& s = settings();
  const model::RouteConfig* config;
  if (s.inline_routes) {
    config = s.inline_routes.get();  // pinned by the chain
  } else {
    routes_ = worker().routes.find(s.rds_id);
    config = routes_.get();
  }
  route::Decision decision;
  if (config) decision = route::match(*config, request_, arena_, worker().loop.rng().next());
  route_ = decision.route;
  needs_tls_ = decision.virtual_host && decision.virtual_host->require_tls != model::VirtualHost::RequireTls::kNone &&
               request_.headers.get(HeaderId::kForwardedProto) != "https";
  if (needs_tls_ || !route_) return true;
  info_.route_name = route_->name;
  if (!route_->action) return true;
  choose_cluster(*route_->action);
  return accept_action(*route_->action);
}

// Before the filters, which may look at the cluster. Whether there is one is for the router to say.
void Stream::choose_cluster(const model::RouteAction& action) {
  cluster_choice_ = route::choose_cluster(action.clusters, action.total_weight, worker().loop.rng().next());
  if (!cluster_choice_ || !worker().clusters.find(cluster_choice_->cluster_id)) return;
  info_.cluster_name = cluster_choice_->name;
  info_.cluster_id = cluster_choice_->cluster_id;
}

// What the route says about this stream before any filter sees it.
bool Stream::accept_action(const model::RouteAction& action) {
  if (request_.wants_tunnel()) {
    if (!upgrade_allowed(action)) {
      cells().add(settings().stats.rq_ws_on_non_ws_route);
      refuse({403, "", "upgrade_failed"});
      return false;
    }
    cells().add(settings().stats.cx_upgrades_total);
    cells().inc(settings().stats.cx_upgrades_active);
    counted_upgrade_ = true;
  }
  if (action.idle_timeout_ms) {
    idle_ms_ = *action.idle_timeout_ms;
    arm(idle_timer_, idle_ms_);
  }
  std::optional<uint64_t> limit = action.max_stream_duration_ms;
  if (action.grpc_timeout_header_max_ms) {
    // ENVOY: the client's own deadline, if it has one, within the maximum (0: none) and less the offset.
    auto said = http::grpc_timeout_ms(request_.headers.get(HeaderId::kGrpcTimeout));
    uint64_t most = *action.grpc_timeout_header_max_ms, offset = action.grpc_timeout_header_offset_ms;
    if (said) limit = most > 0 ? std::min(most, *said) : *said;
    if (said && *limit > offset) *limit -= offset;
  }
  if (limit) arm(duration_timer_, *limit);
  return true;
}

// The route's word on an upgrade type goes before the connection manager's; what neither names is refused.
bool Stream::upgrade_allowed(const model::RouteAction& action) const {
  std::string_view wanted = request_.upgrade.empty() ? std::string_view("connect") : request_.upgrade;
  for (const auto* configs : {&action.upgrades, &settings().upgrades}) {
    for (const auto& [type, enabled] : *configs) {
      if (http::equals_ignore_case(type, wanted)) return enabled;
    }
  }
  return false;
}

// What the terminal filter has no upstream for. ENVOY: the filters before it have seen the request.
bool Stream::answer_without_upstream() {
  if (needs_tls_) {
    cells().add(settings().stats.rq_redirect);
    local_reply({301, "", "direct_response", 0, "location", https_location(request_, arena_)});
    return true;
  }
  if (!route_) {
    cells().add(settings().stats.no_route);
    LocalReply reply{404, "", "route_not_found", http::flag_bit(Flag::kNoRouteFound)};
    reply.close = request_.method == "CONNECT";
    local_reply(reply);
    return true;
  }
  if (route_->direct) {
    cells().add(settings().stats.rq_direct_response);
    local_reply({route_->direct->status, route_->direct->body, "direct_response"});
    return true;
  }
  if (route_->redirect) {
    cells().add(settings().stats.rq_redirect);
    std::string_view location = redirect_location(*route_, request_, arena_);
    local_reply({route_->redirect->code, "", "direct_response", 0, "location", location});
    return true;
  }
  return false;
}

// ENVOY: with tracing, also without a provider, the receiving end is told what the route calls this; it tells the
// sender its own name for it in the response, unless it was told one.
void Stream::decorate_request() {
  bool named = route_ && !route_->decorator.empty() && route_->decorator_propagates;
  if (settings().egress) {
    if (named) request_.headers.set(HeaderId::kEnvoyDecoratorOperation, route_->decorator);
    return;
  }
  decorates_response_ = named && request_.headers.get(HeaderId::kEnvoyDecoratorOperation).empty();
  request_.headers.remove(HeaderId::kEnvoyDecoratorOperation);
}

void Stream::decorate_response(http::ResponseHead& head) {
  if (settings().egress) head.headers.remove(HeaderId::kEnvoyDecoratorOperation);
  else if (decorates_response_) head.headers.set(HeaderId::kEnvoyDecoratorOperation, route_->decorator);
}

}  // namespace pinnace::filters::hcm
