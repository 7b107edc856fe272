#include "xds_client/cluster_compile.h"

#include "filters/registry.h"

namespace pinnace::xds {

Result<compile::CompiledCluster> compile_cluster(const envoy::config::cluster::v3::Cluster& proto,
                                                 compile::Context& context) {
  auto compiled = compile::cluster(proto, context);
  if (!compiled) return compiled.error();
  for (const auto& filter : proto.filters()) {
    auto made = filters::compile_network_filter(filter.name(), filter.typed_config(), context);
    if (!made) return compile::in("filters", made.error());
    bool fits = made->prologue && !compiled->config->prologue;
    if (!fits) return error("filters: '" + filter.name() + "' cannot stand here");
    compiled->config->prologue = std::move(made->prologue);
  }
  return compiled;
}

}  // namespace pinnace::xds
