// Every extension pinnace has: one line each in registry.cc. Compiling an extension turns its typed_config into an
// immutable Config, or names what it cannot do. THREAD: the compile thread.
#pragma once

#include <google/protobuf/any.pb.h>

#include <memory>
#include <string>

#include "envoy/config/listener/v3/listener_components.pb.h"
#include "proxy/filter/http_filter.h"
#include "proxy/filter/network_filter.h"
#include "xds_client/compile/context.h"

namespace pinnace::filters {

using compile::Context;

// The message that is in `any`, without what stands before it in the type URL.
std::string type_of(const google::protobuf::Any& any);
bool knows_http_filter(const std::string& type);

// nullptr: the filter does nothing for this configuration and is left out.
Result<std::shared_ptr<const filter::HttpFilterConfig>> compile_http_filter(const std::string& name,
                                                                            const google::protobuf::Any& config,
                                                                            Context& context);
// One of a chain's: the terminal one, or what another adds to its connections.
struct NetworkFilter {
  std::shared_ptr<const filter::NetworkFilterConfig> terminal;
  std::shared_ptr<const net::PrologueConfig> prologue;
  std::shared_ptr<const filter::TcpObserverConfig> observer;
};
Result<NetworkFilter> compile_network_filter(const std::string& name, const google::protobuf::Any& config,
                                             Context& context);
Result<model::ListenerFilterConfig> compile_listener_filter(const envoy::config::listener::v3::ListenerFilter& proto);

}  // namespace pinnace::filters
