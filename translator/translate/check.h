// check(): what is well-formed file by file and still cannot work together: two objects of one name, destinations and
// subsets that are nowhere, gateways nobody defines, Gateway servers that cannot share a port, services that cannot
// share an address. Lines "file:line: warning: reason", sorted.
#pragma once

#include <string>
#include <vector>

#include "translator/translate/mesh_state.h"

namespace pinnace::translator {

std::vector<std::string> check(const std::vector<const Object*>& objects, const MeshState& state);

}  // namespace pinnace::translator
