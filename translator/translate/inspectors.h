// The inspectors of virtualInbound. They wait for the client's first bytes, which a server that speaks first never gets
// to see: so each is disabled on every port whose chains do not ask for it, and left out where none does.
// envoy.config.listener.v3.ListenerFilter.filter_disabled.
#pragma once

#include "translator/translate/filters.h"

namespace pinnace::translator {

// tls_inspector and http_inspector, after the listener filters there are. REQUIRES: the filter chains are complete.
void add_needed_inspectors(Listener* listener);

}  // namespace pinnace::translator
