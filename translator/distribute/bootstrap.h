// The bootstrap a pod's proxy is started with, in Envoy's JSON: who it is, where its control plane listens, its admin
// port, readiness on 15021 and metrics on 15090. envoy.config.bootstrap.v3.Bootstrap.
#pragma once

#include <string>

#include "translator/translate/proxy_facts.h"

namespace pinnace::translator {

// `socket` is the path as the proxy sees it.
std::string make_bootstrap(const MeshState& state, const ProxyFacts& proxy, const std::string& socket);

}  // namespace pinnace::translator
