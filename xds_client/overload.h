// overload_manager of the bootstrap: of it, how many client connections there may be. THREAD: control.
#pragma once

#include <cstdint>
#include <string>

#include "xds_client/bootstrap.h"
#include "xds_client/compile/runtime.h"

namespace pinnace::xds {

// The limit of the monitor downstream_connections, else of the runtime key overload.global_downstream_max_connections;
// 0: none. What else the overload manager should watch is named in the log and left out.
uint64_t max_downstream_connections(const Bootstrap& bootstrap, const compile::Runtime& runtime);

}  // namespace pinnace::xds
