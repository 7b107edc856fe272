// For tests: what a real istiod pushed (../shared/istiod) beside our translation of the same YAML, without what we
// leave out on purpose (Istio's own filters, tracing).
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "translator/translate/translate.h"

namespace pinnace::translator::captured {

// The folder with the captures, by PINNACE_SHARED or beside the sources; empty when there is none.
std::string folder();

std::string read_file(const std::string& path);

// `transform` edits the scenario's YAML before it is parsed (to take out what is refused).
std::shared_ptr<const MeshState> load_mesh(const std::string& scenario,
                                           const std::function<std::string(std::string)>& transform = nullptr);

// The pod a capture's folder name stands for.
const Pod* pod_of(const MeshState& state, const std::string& capture);

// istiod's resources of one type by name, in their serialised form after stripping.
std::map<std::string, std::string> load_capture(const std::string& scenario, const std::string& capture, Type type);

// Our resource or istiod's, parsed, stripped and printed: equal text means equal configuration.
// `refused_too`: also without what we refuse to translate yet, for scenarios that use it.
std::string normal_form(Type type, const std::string& bytes, bool refused_too = false);

// The YAML without the fields that are refused.
std::string without_refused(const std::string& yaml);

}  // namespace pinnace::translator::captured
