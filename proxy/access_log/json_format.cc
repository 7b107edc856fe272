#include "proxy/access_log/json_format.h"

#include "proxy/base/json_text.h"

namespace pinnace::access_log {

std::string JsonFormat::quoted(std::string_view text) {
  std::string out = "\"";
  base::put_json_escaped(out, text);
  return out += '"';
}

void JsonFormat::render(const Entry& entry, std::string& out) const {
  if (!render(root_, entry, out)) out += "{}";
  out += '\n';
}

bool JsonFormat::render(const JsonNode& node, const Entry& entry, std::string& out) const {
  using Kind = JsonNode::Kind;
  size_t start = out.size();
  switch (node.kind) {
    case Kind::kLiteral: out += node.literal; return !omit_ || node.literal != "null";
    case Kind::kFormat:
      if (node.format.single()) {
        node.format.render(entry, out, Style::kJsonValue);
        if (!omit_ || std::string_view(out).substr(start) != "null") return true;
        out.resize(start);
        return false;
      }
      out += '"';
      node.format.render(entry, out, omit_ ? Style::kJsonOmitting : Style::kJson);
      out += '"';
      return true;
    case Kind::kObject:
    case Kind::kList: break;
  }
  bool object = node.kind == Kind::kObject, first = true;
  out += object ? '{' : '[';
  for (const auto& [name, member] : node.members) {
    size_t before = out.size();
    if (!first) out += ',';
    out += name;  // quoted, with its colon
    if (render(member, entry, out)) first = false;
    else out.resize(before);
  }
  out += object ? '}' : ']';
  if (!omit_ || !first) return true;
  out.resize(start);
  return false;
}

}  // namespace pinnace::access_log
