// The Kubernetes and Istio objects the translator reads, reduced to what translation uses. Plain values with the
// spelling of the YAML resolved (durations, enums, defaults), each knowing the file and line it came from. LIFETIME:
// immutable once parsed; a file's objects are replaced together.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "translator/fetch/protocol.h"

namespace pinnace::translator {

using Labels = std::map<std::string, std::string>;
using Duration = std::chrono::nanoseconds;

struct Meta {
  std::string name, ns;
  Labels labels, annotations;
  std::string file;
  int line = 0;
  std::string owner_kind, owner_name;  // metadata.ownerReferences, the controller
};

// ---- Kubernetes

struct ServicePort {
  std::string name;
  Protocol protocol = Protocol::kAuto;
  uint32_t port = 0;
  uint32_t target_port = 0;      // 0: see target_port_name
  std::string target_port_name;  // a name of a container port
};

struct Service {
  Meta meta;
  std::vector<std::string> cluster_ips;
  bool headless = false;
  Labels selector;
  std::vector<ServicePort> ports;
};

struct EndpointPort {
  std::string name;
  uint32_t port = 0;
};

struct EndpointAddress {
  std::string ip;
  bool ready = true;
  std::string pod;  // targetRef of kind Pod
};

// One EndpointSlice, or one subset of an Endpoints object.
struct EndpointSlice {
  Meta meta;
  std::string service;
  std::vector<EndpointAddress> addresses;
  std::vector<EndpointPort> ports;
};

struct Pod {
  Meta meta;
  std::string ip, service_account = "default";
  std::map<std::string, uint32_t> named_ports;
  std::vector<uint32_t> container_ports;
  bool ready = true;
  std::string app_container;
};

struct Namespace {
  Meta meta;
};

// ---- Istio: traffic

struct StringMatch {
  enum class Kind { kExact, kPrefix, kRegex, kPresent };
  Kind kind = Kind::kPresent;
  std::string value;
};

struct HttpMatch {
  std::string name;
  std::optional<StringMatch> uri, scheme, method, authority;
  bool ignore_uri_case = false;
  std::map<std::string, StringMatch> headers, without_headers, query_params;
  uint32_t port = 0;
  Labels source_labels;
  std::string source_namespace;
  std::vector<std::string> gateways;
};

struct Destination {
  std::string host, subset;
  uint32_t port = 0;
};

struct HeaderOperations {
  Labels set, add;
  std::vector<std::string> remove;
};

struct RouteDestination {
  Destination destination;
  uint32_t weight = 0;
  HeaderOperations request, response;
};

struct Redirect {
  std::string uri, authority, scheme;
  std::optional<uint32_t> port;
  bool port_from_protocol = false;
  uint32_t code = 301;
};

struct DirectResponse {
  uint32_t status = 200;
  std::optional<std::string> body;
};

struct Rewrite {
  std::string uri, authority;
};

struct Retries {
  int attempts = 2;
  std::optional<Duration> per_try_timeout, backoff;
  std::string retry_on;
  bool ignore_previous_hosts = true;
};

struct HttpRoute {
  std::string name;
  std::vector<HttpMatch> matches;
  std::vector<RouteDestination> destinations;
  std::optional<Redirect> redirect;
  std::optional<DirectResponse> direct_response;
  std::optional<Rewrite> rewrite;
  std::optional<Duration> timeout;
  std::optional<Retries> retries;
  HeaderOperations request, response;
};

// A match of spec.tls (sni_hosts set) or spec.tcp.
struct L4Match {
  std::vector<std::string> sni_hosts, destination_subnets, gateways;
  uint32_t port = 0;
  Labels source_labels;
  std::string source_namespace;
};

struct L4Route {
  std::vector<L4Match> matches;
  std::vector<RouteDestination> destinations;
};

struct VirtualService {
  Meta meta;
  std::vector<std::string> hosts, gateways, export_to;
  std::vector<HttpRoute> http;
  std::vector<L4Route> tls, tcp;
};

struct ClientTls {
  enum class Mode { kDisable, kSimple, kMutual, kIstioMutual };
  Mode mode = Mode::kDisable;
  std::string client_certificate, private_key, ca_certificates, credential_name, sni;
  std::vector<std::string> subject_alt_names;
  bool insecure_skip_verify = false;
};

struct ConnectionPool {
  std::optional<uint32_t> max_connections, max_pending_requests, max_requests, max_retries, max_requests_per_connection;
  std::optional<uint32_t> max_concurrent_streams, keepalive_probes;
  std::optional<Duration> connect_timeout, http_idle_timeout, tcp_idle_timeout, max_connection_duration;
  std::optional<Duration> keepalive_time, keepalive_interval;
  bool keepalive = false;
  bool http_options = false;  // any of connectionPool.http that becomes HttpProtocolOptions
};

enum class LbPolicy { kRoundRobin, kRandom, kLeastRequest };

struct TrafficPolicy {
  std::optional<LbPolicy> load_balancer;
  std::optional<ConnectionPool> connection_pool;
  std::optional<ClientTls> tls;
  std::map<uint32_t, TrafficPolicy> ports;  // portLevelSettings
};

struct Subset {
  std::string name;
  Labels labels;
  TrafficPolicy policy;
};

struct DestinationRule {
  Meta meta;
  std::string host;
  TrafficPolicy policy;
  std::vector<Subset> subsets;
  std::vector<std::string> export_to;
};

struct ServerTls {
  enum class Mode { kPassthrough, kSimple, kMutual, kIstioMutual };
  Mode mode = Mode::kPassthrough;
  std::string server_certificate, private_key, ca_certificates, credential_name;
  std::vector<std::string> subject_alt_names, cipher_suites;
  std::string min_version, max_version;
};

struct GatewayServer {
  uint32_t port = 0;
  std::string name;
  Protocol protocol = Protocol::kTcp;  // not kUdp or kAuto
  std::vector<std::string> hosts;
  bool https_redirect = false;
  std::optional<ServerTls> tls;
};

struct Gateway {
  Meta meta;
  Labels selector;
  std::vector<GatewayServer> servers;
};

struct WorkloadEndpoint {
  std::string address, service_account;
  std::map<std::string, uint32_t> ports;
  Labels labels;
  uint32_t weight = 1;
};

struct ServiceEntry {
  enum class Resolution { kNone, kStatic, kDns };
  struct Port {
    uint32_t number = 0, target_port = 0;
    std::string name;
    Protocol protocol = Protocol::kAuto;
  };
  Meta meta;
  std::vector<std::string> hosts, addresses, subject_alt_names, export_to;
  std::vector<Port> ports;
  Resolution resolution = Resolution::kNone;
  bool mesh_internal = false;
  std::vector<WorkloadEndpoint> endpoints;
};

enum class MtlsMode { kUnset, kDisable, kPermissive, kStrict };

struct PeerAuthentication {
  Meta meta;
  Labels selector;
  MtlsMode mode = MtlsMode::kUnset;
  std::map<uint32_t, MtlsMode> ports;
};

using Object = std::variant<Service, EndpointSlice, Pod, Namespace, VirtualService, DestinationRule, Gateway,
                            ServiceEntry, PeerAuthentication>;

// MeshConfig, in the form of istiod's own file.
struct MeshConfig {
  std::string access_log_file, access_log_format;
  bool registry_only = false;
  std::string root_namespace = "istio-system";
  std::string trust_domain = "cluster.local";
  std::string domain = "cluster.local";
  Duration connect_timeout = std::chrono::seconds(10);
  Duration protocol_detection_timeout{0};
  bool auto_mtls = true;
};

}  // namespace pinnace::translator
