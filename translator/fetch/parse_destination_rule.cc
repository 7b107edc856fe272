#include "translator/fetch/parse.h"

namespace pinnace::translator {
namespace {

ClientTls parse_client_tls(Fields fields) {
  ClientTls tls;
  auto mode = fields.text("mode", "DISABLE");
  if (mode == "DISABLE") tls.mode = ClientTls::Mode::kDisable;
  else if (mode == "SIMPLE") tls.mode = ClientTls::Mode::kSimple;
  else if (mode == "MUTUAL") tls.mode = ClientTls::Mode::kMutual;
  else if (mode == "ISTIO_MUTUAL") tls.mode = ClientTls::Mode::kIstioMutual;
  else fields.problem_at("mode", "expected DISABLE, SIMPLE, MUTUAL or ISTIO_MUTUAL");
  tls.client_certificate = fields.text("clientCertificate");
  tls.private_key = fields.text("privateKey");
  tls.ca_certificates = fields.text("caCertificates");
  tls.credential_name = fields.text("credentialName");
  tls.sni = fields.text("sni");
  tls.subject_alt_names = fields.texts("subjectAltNames");
  tls.insecure_skip_verify = fields.flag("insecureSkipVerify");
  fields.refuse({"caCrl"});
  if (tls.mode == ClientTls::Mode::kMutual && tls.credential_name.empty() &&
      (tls.client_certificate.empty() || tls.private_key.empty()))
    fields.problem("MUTUAL needs clientCertificate and privateKey, or credentialName");
  return tls;
}

ConnectionPool parse_connection_pool(Fields fields) {
  ConnectionPool pool;
  auto tcp = fields.map("tcp");
  pool.max_connections = tcp.maybe_number("maxConnections");
  pool.connect_timeout = tcp.duration("connectTimeout");
  pool.tcp_idle_timeout = tcp.duration("idleTimeout");
  pool.max_connection_duration = tcp.duration("maxConnectionDuration");
  if (tcp.has("tcpKeepalive")) {
    auto keepalive = tcp.map("tcpKeepalive");
    pool.keepalive = true;
    pool.keepalive_probes = keepalive.maybe_number("probes");
    pool.keepalive_time = keepalive.duration("time");
    pool.keepalive_interval = keepalive.duration("interval");
  }
  auto http = fields.map("http");
  pool.max_pending_requests = http.maybe_number("http1MaxPendingRequests");
  pool.max_requests = http.maybe_number("http2MaxRequests");
  pool.max_retries = http.maybe_number("maxRetries");
  pool.max_requests_per_connection = http.maybe_number("maxRequestsPerConnection");
  pool.http_idle_timeout = http.duration("idleTimeout");
  pool.max_concurrent_streams = http.maybe_number("maxConcurrentStreams");
  auto upgrade = http.text("h2UpgradePolicy", "DEFAULT");
  if (upgrade != "DEFAULT" && upgrade != "DO_NOT_UPGRADE") http.problem_at("h2UpgradePolicy", "is not supported yet");
  if (http.flag("useClientProtocol")) http.problem_at("useClientProtocol", "is not supported yet");
  pool.http_options = pool.max_requests_per_connection || pool.http_idle_timeout || pool.max_connection_duration;
  return pool;
}

TrafficPolicy parse_policy(Fields fields, bool port_level) {
  TrafficPolicy policy;
  if (fields.has("loadBalancer")) {
    auto lb = fields.map("loadBalancer");
    auto simple = lb.text("simple");
    if (simple == "ROUND_ROBIN") policy.load_balancer = LbPolicy::kRoundRobin;
    else if (simple == "RANDOM") policy.load_balancer = LbPolicy::kRandom;
    else if (simple == "LEAST_REQUEST" || simple == "LEAST_CONN" || simple == "UNSPECIFIED" || simple.empty())
      policy.load_balancer = LbPolicy::kLeastRequest;
    else lb.problem_at("simple", simple + " is not supported yet");
    lb.refuse({"consistentHash", "localityLbSetting", "warmupDurationSecs", "warmup"});
  }
  if (fields.has("connectionPool")) policy.connection_pool = parse_connection_pool(fields.map("connectionPool"));
  if (fields.has("tls")) policy.tls = parse_client_tls(fields.map("tls"));
  fields.refuse({"outlierDetection", "tunnel", "proxyProtocol", "retryBudget"});
  if (port_level) {
    fields.ignore({"port"});
    return policy;
  }
  for (auto& port : fields.maps("portLevelSettings")) {
    auto number = port.map("port").number("number", 0, 65535);
    if (number == 0) port.problem("port.number is required");
    policy.ports[number] = parse_policy(std::move(port), true);
  }
  return policy;
}

}  // namespace

void parse_destination_rule(Fields& object, Meta meta, std::vector<Object>& out) {
  DestinationRule rule;
  rule.meta = std::move(meta);
  auto spec = object.map("spec");
  rule.host = spec.text("host");
  if (rule.host.empty()) spec.problem("host is required");
  rule.policy = parse_policy(spec.map("trafficPolicy"), false);
  for (auto& fields : spec.maps("subsets")) {
    Subset subset;
    subset.name = fields.text("name");
    if (subset.name.empty()) fields.problem("name is required");
    subset.labels = fields.text_map("labels");
    subset.policy = parse_policy(fields.map("trafficPolicy"), false);
    rule.subsets.push_back(std::move(subset));
  }
  rule.export_to = spec.texts("exportTo");
  spec.refuse({"workloadSelector"});
  out.push_back(std::move(rule));
}

}  // namespace pinnace::translator
