// dump(): the translation of one pod as JSON, for people.
#pragma once

#include <string>

#include "proxy/base/result.h"
#include "translator/translate/mesh_state.h"

namespace pinnace::translator {

// `pod` is POD or POD.NAMESPACE; `type` one of cds, eds, lds, rds or empty for all.
// ERRORS: no such pod, or the name fits several.
Result<std::string> dump(const MeshState& state, const std::string& pod, const std::string& type);

}  // namespace pinnace::translator
