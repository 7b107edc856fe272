// Gateway, ServiceEntry and PeerAuthentication: where the mesh begins, ends, and whom it believes.
#include <algorithm>
#include <charconv>

#include "translator/fetch/parse.h"

namespace pinnace::translator {
namespace {

constexpr Protocol kServerProtocols[] = {Protocol::kHttp,  Protocol::kHttp2, Protocol::kGrpc, Protocol::kGrpcWeb,
                                         Protocol::kHttps, Protocol::kTls,   Protocol::kTcp,  Protocol::kMongo,
                                         Protocol::kMysql, Protocol::kRedis};

Protocol parse_server_protocol(Fields& port) {
  auto word = port.text("protocol");
  auto protocol = parse_protocol(word);
  if (protocol &&
      std::find(std::begin(kServerProtocols), std::end(kServerProtocols), *protocol) != std::end(kServerProtocols))
    return *protocol;
  port.problem_at("protocol", word + ": expected HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS, TCP, MONGO, MYSQL or REDIS");
  return Protocol::kTcp;
}

void parse_server_tls(Fields fields, GatewayServer& server) {
  server.https_redirect = fields.flag("httpsRedirect");
  ServerTls tls;
  auto mode = fields.text("mode");
  tls.server_certificate = fields.text("serverCertificate");
  tls.private_key = fields.text("privateKey");
  tls.ca_certificates = fields.text("caCertificates");
  tls.credential_name = fields.text("credentialName");
  tls.subject_alt_names = fields.texts("subjectAltNames");
  tls.cipher_suites = fields.texts("cipherSuites");
  tls.min_version = fields.text("minProtocolVersion");
  tls.max_version = fields.text("maxProtocolVersion");
  fields.refuse({"verifyCertificateSpki", "verifyCertificateHash", "caCrl", "credentialNames", "tlsCertificates",
                 "caCertCredentialName"});
  for (auto* version : {&tls.min_version, &tls.max_version})
    if (!version->empty() && *version != "TLS_AUTO" && *version != "TLSV1_2" && *version != "TLSV1_3")
      fields.problem("protocol version " + *version + ": expected TLSV1_2, TLSV1_3 or TLS_AUTO");
  if (!is_tls(server.protocol)) {
    // Only a plain HTTP server may carry tls, and only to send its clients elsewhere.
    bool inert = (mode.empty() || mode == "PASSTHROUGH") && tls.server_certificate.empty() && tls.private_key.empty() &&
                 tls.ca_certificates.empty() && tls.credential_name.empty();
    if (!inert || !is_http(server.protocol))
      fields.problem("needs protocol HTTPS or TLS, not " + std::string(name_of(server.protocol)));
    return;
  }
  if (mode.empty() || mode == "PASSTHROUGH") tls.mode = ServerTls::Mode::kPassthrough;
  else if (mode == "SIMPLE") tls.mode = ServerTls::Mode::kSimple;
  else if (mode == "MUTUAL") tls.mode = ServerTls::Mode::kMutual;
  else if (mode == "ISTIO_MUTUAL") tls.mode = ServerTls::Mode::kIstioMutual;
  else fields.problem_at("mode", mode + " is not supported yet");
  bool own = tls.mode == ServerTls::Mode::kSimple || tls.mode == ServerTls::Mode::kMutual;
  if (own && tls.credential_name.empty() && (tls.server_certificate.empty() || tls.private_key.empty()))
    fields.problem("needs credentialName, or serverCertificate and privateKey");
  server.tls = std::move(tls);
}

MtlsMode parse_mode(Fields& fields) {
  auto mode = fields.text("mode", "UNSET");
  if (mode == "UNSET") return MtlsMode::kUnset;
  if (mode == "DISABLE") return MtlsMode::kDisable;
  if (mode == "PERMISSIVE") return MtlsMode::kPermissive;
  if (mode == "STRICT") return MtlsMode::kStrict;
  fields.problem_at("mode", "expected UNSET, DISABLE, PERMISSIVE or STRICT");
  return MtlsMode::kUnset;
}

}  // namespace

void parse_gateway(Fields& object, Meta meta, std::vector<Object>& out) {
  Gateway gateway;
  gateway.meta = std::move(meta);
  auto spec = object.map("spec");
  gateway.selector = spec.text_map("selector");
  if (gateway.selector.empty()) spec.problem("selector is required");
  for (auto& fields : spec.maps("servers")) {
    GatewayServer server;
    auto port = fields.map("port");
    server.port = port.number("number", 0, 65535);
    server.name = port.text("name");
    server.protocol = parse_server_protocol(port);
    port.refuse({"targetPort"});
    if (server.port == 0) port.problem("number is required");
    server.hosts = fields.texts("hosts");
    if (server.hosts.empty()) fields.problem("hosts is required");
    if (fields.has("tls")) parse_server_tls(fields.map("tls"), server);
    else if (is_tls(server.protocol))
      fields.problem("protocol " + std::string(name_of(server.protocol)) + " needs tls");
    fields.refuse({"bind", "defaultEndpoint"});
    fields.ignore({"name"});
    gateway.servers.push_back(std::move(server));
  }
  out.push_back(std::move(gateway));
}

void parse_service_entry(Fields& object, Meta meta, std::vector<Object>& out) {
  ServiceEntry entry;
  entry.meta = std::move(meta);
  auto spec = object.map("spec");
  entry.hosts = spec.texts("hosts");
  if (entry.hosts.empty()) spec.problem("hosts is required");
  entry.addresses = spec.texts("addresses");
  for (auto& fields : spec.maps("ports")) {
    ServiceEntry::Port port;
    port.number = fields.number("number", 0, 65535);
    port.target_port = fields.number("targetPort", 0, 65535);
    port.name = fields.text("name");
    if (auto word = fields.text("protocol"); !word.empty()) {
      auto protocol = parse_protocol(word);
      if (protocol) port.protocol = *protocol;
      else fields.problem_at("protocol", word + " is no protocol of a ServiceEntry");
    }
    if (port.number == 0) fields.problem("number is required");
    entry.ports.push_back(std::move(port));
  }
  auto resolution = spec.text("resolution", "NONE");
  if (resolution == "STATIC") entry.resolution = ServiceEntry::Resolution::kStatic;
  else if (resolution == "DNS") entry.resolution = ServiceEntry::Resolution::kDns;
  else if (resolution != "NONE") spec.problem_at("resolution", resolution + " is not supported yet");
  // Nothing tells the hosts of one plain TCP port apart; without a resolution it does not matter which was meant.
  bool told_apart = std::all_of(entry.ports.begin(), entry.ports.end(),
                                [](auto& port) { return is_http(port.protocol) || is_tls(port.protocol); });
  if (entry.hosts.size() > 1 && resolution != "NONE" && !told_apart)
    spec.problem_at("hosts", "several hosts need ports of protocol HTTP or TLS, or resolution NONE");
  auto location = spec.text("location", "MESH_EXTERNAL");
  entry.mesh_internal = location == "MESH_INTERNAL";
  if (!entry.mesh_internal && location != "MESH_EXTERNAL")
    spec.problem_at("location", "expected MESH_EXTERNAL or MESH_INTERNAL");
  for (auto& fields : spec.maps("endpoints")) {
    WorkloadEndpoint endpoint;
    endpoint.address = fields.text("address");
    endpoint.service_account = fields.text("serviceAccount");
    endpoint.labels = fields.text_map("labels");
    endpoint.weight = fields.number("weight", 1);
    fields.each_text("ports", [&](const std::string& name, const std::string& value, int) {
      uint32_t number = 0;
      std::from_chars(value.data(), value.data() + value.size(), number);
      if (number == 0 || number > 65535) fields.problem_at("ports", name + ": expected a port number");
      endpoint.ports[name] = number;
    });
    fields.refuse({"locality", "network"});
    entry.endpoints.push_back(std::move(endpoint));
  }
  entry.subject_alt_names = spec.texts("subjectAltNames");
  entry.export_to = spec.texts("exportTo");
  spec.refuse({"workloadSelector"});
  out.push_back(std::move(entry));
}

void parse_peer_authentication(Fields& object, Meta meta, std::vector<Object>& out) {
  PeerAuthentication policy;
  policy.meta = std::move(meta);
  auto spec = object.map("spec");
  policy.selector = spec.map("selector").text_map("matchLabels");
  auto mtls = spec.map("mtls");
  policy.mode = parse_mode(mtls);
  spec.each("portLevelMtls", [&](const std::string& name, Fields fields) {
    uint32_t number = 0;
    std::from_chars(name.data(), name.data() + name.size(), number);
    if (number == 0 || number > 65535) fields.problem("expected a port number");
    policy.ports[number] = parse_mode(fields);
  });
  if (!policy.ports.empty() && policy.selector.empty()) spec.problem_at("portLevelMtls", "needs a selector");
  out.push_back(std::move(policy));
}

}  // namespace pinnace::translator
