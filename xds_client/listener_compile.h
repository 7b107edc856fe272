// Compiles listeners. envoy.config.listener.v3.Listener. ERRORS: as compile/cluster.h.
#pragma once

#include "envoy/config/listener/v3/listener.pb.h"
#include "proxy/model/extension.h"
#include "xds_client/compile/context.h"

namespace pinnace::compile {

struct CompiledListener {
  model::ListenerPtr config;
  std::vector<model::RouteRef> routes;            // RDS resources it needs before it serves
  std::vector<uint32_t> tls_contexts;             // likewise
  std::vector<model::ExtensionPlace> extensions;  // likewise
};

// `previous` (may be nullptr) lends its unchanged chains, so that their connections go on.
Result<CompiledListener> listener(const envoy::config::listener::v3::Listener& proto,
                                  const model::ListenerConfig* previous, Context& context);

}  // namespace pinnace::compile
