// Parsing: the text of one YAML file (any number of documents) to objects. Kinds that cannot change traffic are passed
// over; Istio kinds and fields that would, but are not supported, are refused by name.
// ERRORS: every problem of the file, with its line; then nothing of the file is used.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/result.h"
#include "translator/fetch/fields.h"
#include "translator/fetch/resources.h"

namespace pinnace::translator {

struct ParsedFile {
  std::vector<Object> objects;
  Problems problems;
};

ParsedFile parse_file(std::string_view text, const std::string& file);
// ERRORS: "file:line: reason", the first problem.
Result<MeshConfig> parse_mesh_config(std::string_view text, const std::string& file);

// One kind each; `object` is the whole document.
void parse_service(Fields& object, Meta meta, std::vector<Object>& out);
void parse_endpoints(Fields& object, Meta meta, std::vector<Object>& out);
void parse_endpoint_slice(Fields& object, Meta meta, std::vector<Object>& out);
void parse_pod(Fields& object, Meta meta, std::vector<Object>& out);
void parse_gateway(Fields& object, Meta meta, std::vector<Object>& out);
void parse_virtual_service(Fields& object, Meta meta, std::vector<Object>& out);
void parse_destination_rule(Fields& object, Meta meta, std::vector<Object>& out);
void parse_service_entry(Fields& object, Meta meta, std::vector<Object>& out);
void parse_peer_authentication(Fields& object, Meta meta, std::vector<Object>& out);

}  // namespace pinnace::translator
