#include "translator/dump.h"

#include <fmt/format.h>
#include <google/protobuf/any.pb.h>
#include <google/protobuf/util/json_util.h>

#include "translator/translate/translate.h"

namespace pinnace::translator {

Result<std::string> dump(const MeshState& state, const std::string& name, const std::string& type) {
  const Pod* found = nullptr;
  for (auto& pod : state.pods()) {
    bool fits = pod.meta.name == name || pod.meta.name + "." + pod.meta.ns == name;
    if (fits && found) return error(fmt::format("{}: several pods of that name; say POD.NAMESPACE", name));
    if (fits) found = &pod;
  }
  if (!found) return error(fmt::format("{}: no such pod", name));
  auto set = translate(state, proxy_facts(state, *found));
  std::string out = "{\n";
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  bool first_type = true;
  for (size_t i = 0; i < kTypes; i++) {
    if (static_cast<Type>(i) == Type::kSecret || (!type.empty() && kTypeNames[i] != type)) continue;
    out += fmt::format("{}\"{}\": [\n", first_type ? "" : ",\n", kTypeNames[i]);
    first_type = false;
    bool first = true;
    for (auto& [resource_name, resource] : (*set)[i]) {
      google::protobuf::Any any;
      any.set_type_url(std::string(kTypeUrls[i]));
      any.set_value(resource.bytes);
      std::string json;
      auto status = google::protobuf::util::MessageToJsonString(any, &json, options);
      if (!status.ok()) return error(fmt::format("{}: {}", resource_name, status.ToString()));
      out += (first ? "" : ",\n") + json;
      first = false;
    }
    out += "]";
  }
  return out + "\n}";
}

}  // namespace pinnace::translator
