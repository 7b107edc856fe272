// JsonFormat: an access log's json_format: a tree of objects, lists and strings with operators, rendered as one line. A
// string that is one operator keeps its value's type; keys are sorted, as Envoy's are. Immutable.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "proxy/access_log/format.h"

namespace pinnace::access_log {

struct JsonMember;

struct JsonNode {
  enum class Kind : uint8_t { kLiteral, kFormat, kObject, kList } kind = Kind::kLiteral;
  std::string literal;  // JSON
  Format format;
  std::vector<JsonMember> members;  // sorted; a list's have no names
};

struct JsonMember {
  std::string name;
  JsonNode node;
};

class JsonFormat {
 public:
  // `omit`: members without a value are left out (omit_empty_values).
  JsonFormat(JsonNode root, bool omit) : root_(std::move(root)), omit_(omit) {}
  void render(const Entry& entry, std::string& out) const;

  // `text` as JSON, quotes and all.
  static std::string quoted(std::string_view text);

 private:
  // False: it has no value and nothing was written.
  bool render(const JsonNode& node, const Entry& entry, std::string& out) const;

  JsonNode root_;
  bool omit_;
};

}  // namespace pinnace::access_log
