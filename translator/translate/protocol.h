// Which protocol a service port speaks: appProtocol, else the first word of its name, else the port number, else
// sniffed.
#pragma once

#include <string_view>

#include "translator/translate/mesh_state.h"

namespace pinnace::translator {

Protocol protocol_of(std::string_view port_name, std::string_view app_protocol, uint32_t port);
// ports[].protocol of a ServiceEntry, upper case.
Protocol protocol_of_service_entry(std::string_view protocol);

}  // namespace pinnace::translator
