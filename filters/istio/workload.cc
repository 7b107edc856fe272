#include "filters/istio/workload.h"

#include <vector>

#include "xds_client/compile/struct.h"

namespace pinnace::filters::istio {
namespace {

using google::protobuf::Struct;

constexpr const char* kCanonicalName = "service.istio.io/canonical-name";
constexpr const char* kCanonicalRevision = "service.istio.io/canonical-revision";
constexpr const char* kOwnerPrefix = "kubernetes://apis/apps/v1/namespaces/";

std::string clean(std::string_view text) {
  std::string out(text.substr(0, kMostText));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '_';
  }
  return out;
}

std::string text(const Struct& in, const std::string& name) {
  return clean(compile::value_in(in, name).string_value());
}

// "kubernetes://apis/apps/v1/namespaces/NS/deployments/NAME" → "deployment"
std::string type_of(std::string_view owner, std::string_view name) {
  if (owner.size() <= name.size() + 2) return {};
  owner.remove_suffix(name.size() + 2);  // "s/NAME"
  size_t slash = owner.rfind('/');
  if (slash == std::string_view::npos) return {};
  for (std::string_view known : {"pod", "deployment", "job", "cronjob"}) {
    if (owner.substr(slash + 1) == known) return std::string(known);
  }
  return {};
}

void read_labels(const Struct& labels, const Labels& additional, Workload& out) {
  auto either = [&](const char* qualified, const char* plain) {
    return labels.fields().contains(qualified) ? text(labels, qualified) : text(labels, plain);
  };
  out.canonical_name = text(labels, kCanonicalName);
  out.canonical_revision = text(labels, kCanonicalRevision);
  out.app = either("app.kubernetes.io/name", "app");
  out.version = either("app.kubernetes.io/version", "version");
  for (const auto& name : additional) {
    auto found = labels.fields().find(name);
    if (found != labels.fields().end()) out.more[name] = clean(found->second.string_value());
  }
}

void put(Struct& to, const std::string& name, const std::string& value) {
  if (!value.empty()) (*to.mutable_fields())[name].set_string_value(value);
}

}  // namespace

Workload workload_of(const Struct& metadata, const Labels& additional) {
  Workload out;
  out.instance = text(metadata, "NAME");
  out.namespace_name = text(metadata, "NAMESPACE");
  out.name = text(metadata, "WORKLOAD_NAME");
  out.type = type_of(text(metadata, "OWNER"), out.name);
  out.cluster = text(metadata, "CLUSTER_ID");
  out.identity = text(metadata, "IDENTITY");
  out.region = text(metadata, "REGION");
  out.zone = text(metadata, "AVAILABILITY_ZONE");
  read_labels(compile::value_in(metadata, "LABELS").struct_value(), additional, out);
  return out;
}

Workload workload_of(const envoy::config::core::v3::Node& node, const Labels& additional) {
  Workload out = workload_of(node.metadata(), additional);
  if (out.region.empty()) out.region = node.locality().region();
  if (out.zone.empty()) out.zone = node.locality().zone();
  return out;
}

std::optional<Workload> workload_of_endpoint(std::string_view encoded) {
  std::vector<std::string> parts;
  while (true) {
    size_t semicolon = encoded.find(';');
    parts.push_back(clean(encoded.substr(0, semicolon)));
    if (semicolon == std::string_view::npos) break;
    encoded.remove_prefix(semicolon + 1);
  }
  if (parts.size() < 5) return {};
  Workload out;
  out.name = parts[0];
  out.namespace_name = parts[1];
  out.canonical_name = parts[2];
  out.canonical_revision = parts[3];
  out.cluster = parts[4];
  return out;
}

Struct metadata_of(const Workload& workload) {
  Struct out;
  put(out, "NAME", workload.instance);
  put(out, "NAMESPACE", workload.namespace_name);
  put(out, "WORKLOAD_NAME", workload.name);
  put(out, "CLUSTER_ID", workload.cluster);
  put(out, "IDENTITY", workload.identity);
  Struct& labels = *(*out.mutable_fields())["LABELS"].mutable_struct_value();
  put(labels, kCanonicalName, workload.canonical_name);
  put(labels, kCanonicalRevision, workload.canonical_revision);
  put(labels, "app", workload.app);
  put(labels, "version", workload.version);
  for (const auto& [name, value] : workload.more) (*labels.mutable_fields())[name].set_string_value(value);
  if (!workload.type.empty()) {
    put(out, "OWNER", kOwnerPrefix + workload.namespace_name + "/" + workload.type + "s/" + workload.name);
  }
  put(out, "REGION", workload.region);
  put(out, "AVAILABILITY_ZONE", workload.zone);
  return out;
}

}  // namespace pinnace::filters::istio
