// Operators of access-log formats that need more than a format's own layer: CEL(expression), and
// FILTER_STATE(downstream_peer:FIELD:name) and upstream_peer, what Istio's proxies know of each other.
// envoy.extensions.formatter. ERRORS: names the operator and what it does not know.
#pragma once

#include "filters/cel/attributes.h"
#include "proxy/access_log/format.h"
#include "xds_client/compile/context.h"

namespace pinnace::filters {

// LIFETIME: of the call that compiles a format with it.
access_log::MakeOperator more_operators(compile::Context& context);

// What a CEL expression may know of an entry. LIFETIME: the entry's.
cel::Facts facts_of(const access_log::Entry& entry);

}  // namespace pinnace::filters
