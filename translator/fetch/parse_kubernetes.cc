#include "translator/fetch/parse.h"

namespace pinnace::translator {
namespace {

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos && text.size() <= 5;
}

}  // namespace

void parse_service(Fields& object, Meta meta, std::vector<Object>& out) {
  Service service;
  service.meta = std::move(meta);
  auto spec = object.map("spec");
  if (spec.text("type") == "ExternalName") spec.problem_at("type", "ExternalName is not supported yet");
  service.selector = spec.text_map("selector");
  for (auto& ip : spec.texts("clusterIPs")) service.cluster_ips.push_back(ip);
  if (service.cluster_ips.empty() && spec.has("clusterIP")) service.cluster_ips.push_back(spec.text("clusterIP"));
  std::erase(service.cluster_ips, "");
  service.headless = service.cluster_ips.empty() || service.cluster_ips[0] == "None";
  if (service.headless) service.cluster_ips.clear();
  for (auto& fields : spec.maps("ports")) {
    ServicePort port;
    port.name = fields.text("name");
    auto transport = fields.text("protocol", "TCP"), app_protocol = fields.text("appProtocol");
    if (transport != "TCP" && transport != "UDP" && transport != "SCTP")
      fields.problem_at("protocol", transport + ": expected TCP, UDP or SCTP");
    port.port = fields.number("port", 0, 65535);
    if (port.port == 0) fields.problem("port is required");
    auto protocol = service_port_protocol(port.name, app_protocol, transport, port.port);
    if (protocol) port.protocol = *protocol;
    else fields.problem_at(app_protocol.empty() ? "name" : "appProtocol", "http_proxy is no protocol of a service");
    auto target = fields.text("targetPort");
    if (target.empty()) port.target_port = port.port;
    else if (is_number(target)) port.target_port = static_cast<uint32_t>(std::stoul(target));
    else port.target_port_name = target;
    service.ports.push_back(std::move(port));
  }
  out.push_back(std::move(service));
}

void parse_endpoints(Fields& object, Meta meta, std::vector<Object>& out) {
  for (auto& subset : object.maps("subsets")) {
    EndpointSlice slice;
    slice.meta = meta;
    slice.service = meta.name;
    for (auto key : {"addresses", "notReadyAddresses"})
      for (auto& address : subset.maps(key)) {
        EndpointAddress one;
        one.ip = address.text("ip");
        one.ready = std::string_view(key) == "addresses";
        auto target = address.map("targetRef");
        if (target.text("kind") == "Pod") one.pod = target.text("name");
        slice.addresses.push_back(std::move(one));
      }
    for (auto& port : subset.maps("ports")) slice.ports.push_back({port.text("name"), port.number("port", 0, 65535)});
    out.push_back(std::move(slice));
  }
}

void parse_endpoint_slice(Fields& object, Meta meta, std::vector<Object>& out) {
  EndpointSlice slice;
  auto label = meta.labels.find("kubernetes.io/service-name");
  if (label == meta.labels.end())
    object.problem_at("metadata", "an EndpointSlice needs the label kubernetes.io/service-name");
  else slice.service = label->second;
  slice.meta = std::move(meta);
  for (auto& endpoint : object.maps("endpoints")) {
    auto conditions = endpoint.map("conditions");
    // discovery.k8s.io/v1: an absent `ready` counts as ready; what terminates gets no new requests.
    bool ready = conditions.flag("ready", true);
    if (conditions.flag("terminating", false) && !conditions.flag("serving", ready)) continue;
    auto target = endpoint.map("targetRef");
    auto pod = target.text("kind") == "Pod" ? target.text("name") : "";
    for (auto& ip : endpoint.texts("addresses")) slice.addresses.push_back({ip, ready, pod});
  }
  for (auto& port : object.maps("ports")) slice.ports.push_back({port.text("name"), port.number("port", 0, 65535)});
  out.push_back(std::move(slice));
}

void parse_pod(Fields& object, Meta meta, std::vector<Object>& out) {
  Pod pod;
  pod.meta = std::move(meta);
  auto spec = object.map("spec");
  pod.service_account = spec.text("serviceAccountName", "default");
  for (auto& container : spec.maps("containers")) {
    auto name = container.text("name");
    if (name != "istio-proxy") pod.app_container += (pod.app_container.empty() ? "" : ",") + name;
    for (auto& port : container.maps("ports")) {
      auto number = port.number("containerPort", 0, 65535);
      pod.container_ports.push_back(number);
      if (port.has("name")) pod.named_ports[port.text("name")] = number;
    }
  }
  auto status = object.map("status");
  pod.ip = status.text("podIP");
  for (auto& condition : status.maps("conditions"))
    if (condition.text("type") == "Ready") pod.ready = condition.text("status") == "True";
  out.push_back(std::move(pod));
}

}  // namespace pinnace::translator
