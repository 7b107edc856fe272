#include "xds_client/bootstrap.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/util/json_util.h>
#include <yaml-cpp/yaml.h>

#include <fstream>
#include <regex>
#include <sstream>

namespace pinnace::xds {
namespace {

constexpr int kMaxDepth = 100;  // CVE-2026-48042: nesting is bounded

void put_string(std::string& out, const std::string& text) {
  out += '"';
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      char escape[8];
      snprintf(escape, sizeof escape, "\\u%04x", byte);
      out += escape;
    } else {
      out += c;
    }
  }
  out += '"';
}

bool is_plain(const std::string& text) {
  static const std::regex kNumber(R"(-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?)");
  return text == "true" || text == "false" || std::regex_match(text, kNumber);
}

bool known_type(const std::string& url) {
  size_t slash = url.rfind('/');
  std::string name = slash == std::string::npos ? url : url.substr(slash + 1);
  return google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(name) != nullptr;
}

void convert(const YAML::Node& node, std::string& out, int depth) {
  if (depth > kMaxDepth) throw YAML::Exception(node.Mark(), "nested deeper than " + std::to_string(kMaxDepth));
  switch (node.Type()) {
    case YAML::NodeType::Undefined:
    case YAML::NodeType::Null: out += "null"; return;
    case YAML::NodeType::Scalar: {
      const std::string& text = node.Scalar();
      if (node.Tag() != "!" && is_plain(text)) {
        out += text;
      } else if (node.Tag() != "!" && (text == "~" || text == "null")) {
        out += "null";
      } else {
        put_string(out, text);
      }
      return;
    }
    case YAML::NodeType::Sequence: {
      out += '[';
      bool first = true;
      for (const auto& item : node) {
        if (!first) out += ',';
        first = false;
        convert(item, out, depth + 1);
      }
      out += ']';
      return;
    }
    case YAML::NodeType::Map: {
      std::string type = node["@type"] ? node["@type"].as<std::string>() : "";
      bool opaque = !type.empty() && !known_type(type);
      out += opaque ? "{\"@type\":\"type.googleapis.com/xds.type.v3.TypedStruct\",\"type_url\":" : "{";
      if (opaque) {
        put_string(out, type);
        out += ",\"value\":{";
      }
      bool first = true;
      for (const auto& pair : node) {
        std::string key = pair.first.as<std::string>();
        if (opaque && key == "@type") continue;
        if (!first) out += ',';
        first = false;
        put_string(out, key);
        out += ':';
        convert(pair.second, out, depth + 1);
      }
      out += opaque ? "}}" : "}";
      return;
    }
  }
}

// A comma before a closing bracket is no JSON, but the bootstrap template may leave one behind. Commas inside strings
// stay.
std::string without_trailing_commas(const std::string& text) {
  std::string out;
  out.reserve(text.size());
  bool in_string = false;
  for (size_t i = 0; i < text.size(); i++) {
    char c = text[i];
    if (in_string && c == '\\' && i + 1 < text.size()) {
      out += c;
      out += text[++i];
      continue;
    }
    if (c == '"') in_string = !in_string;
    if (c == ',' && !in_string) {
      size_t next = text.find_first_not_of(" \t\r\n", i + 1);
      if (next != std::string::npos && (text[next] == ']' || text[next] == '}')) continue;
    }
    out += c;
  }
  return out;
}

Result<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return error(path + ": cannot be read: " + std::strerror(errno));
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Result<Bootstrap> parse(const std::string& text, const std::string& source) {
  auto json = yaml_to_json(text, source);
  if (!json) return json.error();
  Bootstrap bootstrap;
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  auto status = google::protobuf::util::JsonStringToMessage(*json, &bootstrap, options);
  if (!status.ok()) {
    std::string message(status.message());
    for (char& c : message) {
      if (c == '\n') c = ' ';
    }
    return error(source + ": not a bootstrap: " + message);
  }
  return bootstrap;
}

}  // namespace

Result<std::string> yaml_to_json(const std::string& text, const std::string& source) {
  try {
    size_t start = text.find_first_not_of(" \t\r\n");
    bool json_like = start != std::string::npos && text[start] == '{';
    YAML::Node node = YAML::Load(json_like ? without_trailing_commas(text) : text);
    if (!node.IsMap()) return error(source + ":1: not an object");
    std::string out;
    out.reserve(text.size());
    convert(node, out, 0);
    return out;
  } catch (const YAML::Exception& e) {
    return error(source + ":" + std::to_string(e.mark.line + 1) + ": " + e.msg);
  }
}

Result<Bootstrap> load_bootstrap(const std::string& path, const std::string& inline_config) {
  // Protobuf would write a line to stderr for what peers send (metadata that is no UTF-8), as often as they like.
  google::protobuf::SetLogHandler(nullptr);
  Bootstrap bootstrap;
  if (!path.empty()) {
    auto text = read_file(path);
    if (!text) return text.error();
    auto parsed = parse(*text, path);
    if (!parsed) return parsed.error();
    bootstrap = std::move(*parsed);
  }
  if (!inline_config.empty()) {
    auto parsed = parse(inline_config, "--config-yaml");
    if (!parsed) return parsed.error();
    bootstrap.MergeFrom(*parsed);
  }
  return bootstrap;
}

}  // namespace pinnace::xds
