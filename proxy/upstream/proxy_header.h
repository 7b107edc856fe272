// What pinnace says of a connection by the PROXY protocol (haproxy's specification, versions 1 and 2). Pure.
#pragma once

#include <string>

#include "proxy/base/address.h"
#include "proxy/model/cluster.h"

namespace pinnace::upstream {

// Without addresses of one IP family: that the connection is the proxy's own (LOCAL, UNKNOWN).
std::string proxy_header(model::ProxyProtocol version, const base::Address* source, const base::Address* destination);

}  // namespace pinnace::upstream
