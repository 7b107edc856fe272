#include "filters/http/router/compile.h"

#include "envoy/extensions/filters/http/router/v3/router.pb.h"
#include "filters/http/router/router.h"

namespace pinnace::filters::router {

Result<std::shared_ptr<const filter::HttpFilterConfig>> compile(const google::protobuf::Any& any, compile::Context&) {
  envoy::extensions::filters::http::router::v3::Router proto;
  if (!any.UnpackTo(&proto)) return error("typed_config does not parse");
  // start_child_span only matters to a tracing provider, which pinnace does not have yet.
  auto known = compile::only_fields(proto, {"dynamic_stats", "start_child_span", "suppress_envoy_headers"});
  if (!known) return known.error();
  RouterSettings settings;
  settings.suppress_envoy_headers = proto.suppress_envoy_headers();
  return std::shared_ptr<const filter::HttpFilterConfig>(std::make_shared<RouterConfig>(settings));
}

}  // namespace pinnace::filters::router
