#include "translator/fetch/parse.h"

#include <fmt/format.h>

namespace pinnace::translator {
namespace {

using Parser = void (*)(Fields&, Meta, std::vector<Object>&);

void parse_namespace(Fields&, Meta meta, std::vector<Object>& out) { out.push_back(Namespace{std::move(meta)}); }

struct Kind {
  std::string_view group, name;
  bool strict;
  Parser parse;
};
constexpr Kind kKinds[] = {
    {"", "Service", false, parse_service},
    {"", "Endpoints", false, parse_endpoints},
    {"discovery.k8s.io", "EndpointSlice", false, parse_endpoint_slice},
    {"", "Pod", false, parse_pod},
    {"", "Namespace", false, parse_namespace},
    {"networking.istio.io", "Gateway", true, parse_gateway},
    {"networking.istio.io", "VirtualService", true, parse_virtual_service},
    {"networking.istio.io", "DestinationRule", true, parse_destination_rule},
    {"networking.istio.io", "ServiceEntry", true, parse_service_entry},
    {"security.istio.io", "PeerAuthentication", true, parse_peer_authentication},
};

// Reads metadata leniently: Kubernetes adds fields there that say nothing about traffic.
Meta parse_meta(Fields& head, const std::string& kind, const std::string& file) {
  Meta meta;
  meta.file = file;
  meta.line = head.line();
  auto fields = head.map("metadata");
  meta.name = fields.text("name");
  meta.ns = kind == "Namespace" ? "" : fields.text("namespace", "default");
  meta.labels = fields.text_map("labels");
  meta.annotations = fields.text_map("annotations");
  for (auto& owner : fields.maps("ownerReferences")) {
    meta.owner_kind = owner.text("kind");
    meta.owner_name = owner.text("name");
  }
  if (meta.name.empty()) head.problem_at("metadata", "name is required");
  return meta;
}

void parse_document(const YAML::Node& node, const std::string& file, ParsedFile& out) {
  if (!node.IsDefined() || node.IsNull()) return;
  Fields head(node, "", out.problems, false);
  if (!node.IsMap()) return;
  auto api = head.text("apiVersion"), kind = head.text("kind");
  if (kind == "List") {
    auto items = node["items"];
    for (const auto& item : items) parse_document(item, file, out);
    return;
  }
  if (kind.empty() || api.empty()) {
    out.problems.push_back({head.line(), "apiVersion and kind are required"});
    return;
  }
  size_t slash = api.find('/');
  std::string group = slash == std::string::npos ? "" : api.substr(0, slash);
  std::string version = slash == std::string::npos ? api : api.substr(slash + 1);
  for (const auto& known : kKinds) {
    if (known.group != group || known.name != kind) continue;
    if (known.strict && version != "v1" && version != "v1beta1" && version != "v1alpha3") {
      out.problems.push_back({head.line(), fmt::format("apiVersion: {} of {} is not known", version, kind)});
      return;
    }
    Meta meta = parse_meta(head, kind, file);
    Fields object(node, "", out.problems, known.strict);
    object.ignore({"apiVersion", "kind", "metadata"});
    if (known.strict) object.ignore({"status"});
    known.parse(object, std::move(meta), out.objects);
    return;
  }
  // Everything of Istio's that is not in the table changes what a proxy does; Kubernetes' other kinds do not.
  if (group.ends_with("istio.io") || group == "gateway.networking.k8s.io")
    out.problems.push_back({head.line(), fmt::format("kind {} ({}) is not supported yet", kind, group)});
}

}  // namespace

ParsedFile parse_file(std::string_view text, const std::string& file) {
  ParsedFile out;
  try {
    for (const auto& node : YAML::LoadAll(std::string(text))) parse_document(node, file, out);
  } catch (const YAML::Exception& e) {
    out.problems.push_back({e.mark.line + 1, fmt::format("YAML: {}", e.msg)});
  }
  if (!out.problems.empty()) out.objects.clear();
  return out;
}

Result<MeshConfig> parse_mesh_config(std::string_view text, const std::string& file) {
  MeshConfig config;
  Problems problems;
  try {
    auto node = YAML::Load(std::string(text));
    Fields fields(node, "", problems);
    config.access_log_file = fields.text("accessLogFile");
    config.access_log_format = fields.text("accessLogFormat");
    if (fields.text("accessLogEncoding", "TEXT") != "TEXT")
      fields.problem_at("accessLogEncoding", "only TEXT is supported yet");
    auto outbound = fields.map("outboundTrafficPolicy");
    auto mode = outbound.text("mode", "ALLOW_ANY");
    if (mode != "ALLOW_ANY" && mode != "REGISTRY_ONLY")
      outbound.problem_at("mode", "expected ALLOW_ANY or REGISTRY_ONLY");
    config.registry_only = mode == "REGISTRY_ONLY";
    config.root_namespace = fields.text("rootNamespace", config.root_namespace);
    config.trust_domain = fields.text("trustDomain", config.trust_domain);
    config.connect_timeout = fields.duration("connectTimeout").value_or(config.connect_timeout);
    config.protocol_detection_timeout = fields.duration("protocolDetectionTimeout").value_or(Duration(0));
    config.auto_mtls = fields.flag("enableAutoMtls", true);
    // Metrics and tracing are not the translator's yet, and none of these changes where a request goes.
    fields.ignore({"enablePrometheusMerge", "defaultProviders", "defaultConfig", "enableTracing", "extensionProviders",
                   "ingressControllerMode", "dnsRefreshRate", "configSources"});
  } catch (const YAML::Exception& e) {
    problems.push_back({e.mark.line + 1, fmt::format("YAML: {}", e.msg)});
  }
  if (!problems.empty()) return error(fmt::format("{}:{}: {}", file, problems[0].line, problems[0].reason));
  return config;
}

}  // namespace pinnace::translator
