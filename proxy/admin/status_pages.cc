// /clusters, /listeners, /certs, /server_info, /logging.
#include <fmt/format.h>
#include <time.h>

#include "envoy/admin/v3/certs.pb.h"
#include "envoy/admin/v3/clusters.pb.h"
#include "envoy/admin/v3/listeners.pb.h"
#include "envoy/admin/v3/server_info.pb.h"
#include "envoy/config/cluster/v3/cluster.pb.h"
#include "envoy/config/endpoint/v3/endpoint.pb.h"
#include "proxy/admin/admin.h"
#include "proxy/base/log.h"
#include "xds_client/compile/common.h"

namespace pinnace::admin {
namespace {

namespace pb = envoy::admin::v3;

void fill_address(envoy::config::core::v3::Address* to, const base::Address& address) {
  if (address.is_ip()) {
    to->mutable_socket_address()->set_address(address.ip_text());
    to->mutable_socket_address()->set_port_value(address.port());
  } else {
    to->mutable_pipe()->set_path(address.text());
  }
}

HostStats stats_of(const HostStatsMap& all, const std::string& cluster, const std::string& host) {
  auto found = all.find(cluster);
  if (found == all.end()) return {};
  auto stats = found->second.find(host);
  return stats == found->second.end() ? HostStats() : stats->second;
}

using Locality = envoy::config::core::v3::Locality;

// Where a cluster's endpoints are, by address: as EDS or the cluster itself says.
std::map<std::string, Locality> localities_of(const xds::Clusters& clusters, const xds::ClusterEntry& entry) {
  envoy::config::endpoint::v3::ClusterLoadAssignment assignment;
  envoy::config::cluster::v3::Cluster cluster;
  auto delivered = clusters.assignments().find(entry.active->eds.name);
  if (!entry.active->eds.name.empty() && delivered != clusters.assignments().end()) {
    delivered->second.body.UnpackTo(&assignment);
  } else if (entry.resource.body.UnpackTo(&cluster)) {
    assignment = cluster.load_assignment();
  }
  std::map<std::string, Locality> out;
  for (const auto& group : assignment.endpoints()) {
    for (const auto& endpoint : group.lb_endpoints()) {
      auto address = compile::address(endpoint.endpoint().address());
      if (address) out[address->text()] = group.locality();
    }
  }
  return out;
}

std::string clusters_text(const xds::Clusters& clusters, const HostStatsMap& stats) {
  std::string out;
  for (const auto& [name, entry] : clusters.entries()) {
    if (!entry.active) continue;
    const model::ClusterConfig& config = *entry.active->config;
    auto line = [&out, &name = name](const std::string& key, const auto& value) {
      out += fmt::format("{}::{}::{}\n", name, key, value);
    };
    line("observability_name", config.stat_name);
    for (const char* priority : {"default_priority", "high_priority"}) {
      bool high = priority[0] == 'h';
      model::CircuitBreakers limits = high ? model::CircuitBreakers() : config.breakers;
      line(std::string(priority) + "::max_connections", limits.max_connections);
      line(std::string(priority) + "::max_pending_requests", limits.max_pending);
      line(std::string(priority) + "::max_requests", limits.max_requests);
      line(std::string(priority) + "::max_retries", limits.max_retries);
    }
    line("added_via_api", !entry.is_static);
    if (!entry.active->eds.name.empty()) line("eds_service_name", entry.active->eds.name);
    if (!entry.endpoints) continue;
    auto localities = localities_of(clusters, entry);
    for (const auto& endpoint : entry.endpoints->endpoints) {
      HostStats s = stats_of(stats, name, endpoint->text);
      const Locality& locality = localities[endpoint->text];
      auto host = [&](const char* key, const auto& value) { line(endpoint->text + "::" + key, value); };
      host("cx_active", s.cx_active);
      host("cx_connect_fail", s.cx_connect_fail);
      host("cx_total", s.cx_total);
      host("rq_active", s.rq_active);
      host("rq_error", s.rq_error);
      host("rq_success", s.rq_success);
      host("rq_timeout", 0);
      host("rq_total", s.rq_total);
      host("hostname", endpoint->hostname);
      host("health_flags", endpoint->healthy ? "healthy" : "/failed_eds_health");
      host("weight", endpoint->weight);
      host("region", locality.region());
      host("zone", locality.zone());
      host("sub_zone", locality.sub_zone());
      host("canary", false);
      host("priority", endpoint->priority);
      host("success_rate", "-1");
      host("local_origin_success_rate", "-1");
    }
  }
  return out;
}

std::string clusters_json(const xds::Clusters& clusters, const HostStatsMap& stats) {
  pb::Clusters out;
  for (const auto& [name, entry] : clusters.entries()) {
    if (!entry.active) continue;
    const model::ClusterConfig& config = *entry.active->config;
    auto* status = out.add_cluster_statuses();
    status->set_name(name);
    status->set_added_via_api(!entry.is_static);
    status->set_observability_name(config.stat_name);
    status->set_eds_service_name(entry.active->eds.name);
    auto* limits = status->mutable_circuit_breakers()->add_thresholds();
    limits->mutable_max_connections()->set_value(config.breakers.max_connections);
    limits->mutable_max_pending_requests()->set_value(config.breakers.max_pending);
    limits->mutable_max_requests()->set_value(config.breakers.max_requests);
    limits->mutable_max_retries()->set_value(config.breakers.max_retries);
    if (!entry.endpoints) continue;
    auto localities = localities_of(clusters, entry);
    for (const auto& endpoint : entry.endpoints->endpoints) {
      auto* host = status->add_host_statuses();
      fill_address(host->mutable_address(), endpoint->address);
      HostStats s = stats_of(stats, name, endpoint->text);
      auto add = [&](const char* stat, uint64_t value, bool gauge) {
        auto* metric = host->add_stats();
        metric->set_name(stat);
        metric->set_value(value);
        if (gauge) metric->set_type(pb::SimpleMetric::GAUGE);
      };
      add("cx_connect_fail", s.cx_connect_fail, false);
      add("cx_total", s.cx_total, false);
      add("rq_error", s.rq_error, false);
      add("rq_success", s.rq_success, false);
      add("rq_timeout", 0, false);
      add("rq_total", s.rq_total, false);
      add("cx_active", s.cx_active, true);
      add("rq_active", s.rq_active, true);
      host->mutable_health_status()->set_eds_health_status(endpoint->healthy ? envoy::config::core::v3::HEALTHY
                                                                             : envoy::config::core::v3::UNHEALTHY);
      host->set_weight(endpoint->weight);
      host->set_hostname(endpoint->hostname);
      host->set_priority(endpoint->priority);
      *host->mutable_locality() = localities[endpoint->text];
    }
  }
  return to_json(out, true);
}

void fill(pb::CertificateDetails* to, const tls::CertificateFacts& facts, int64_t now_s) {
  to->set_path(facts.path);
  to->set_serial_number(facts.serial);
  for (const auto& san : facts.dns_sans) to->add_subject_alt_names()->set_dns(san);
  for (const auto& san : facts.uri_sans) to->add_subject_alt_names()->set_uri(san);
  for (const auto& san : facts.ip_sans) to->add_subject_alt_names()->set_ip_address(san);
  to->set_days_until_expiration(facts.valid_until > now_s ? static_cast<uint64_t>((facts.valid_until - now_s) / 86400)
                                                          : 0);
  to->mutable_valid_from()->set_seconds(facts.valid_from);
  to->mutable_expiration_time()->set_seconds(facts.valid_until);
}

}  // namespace

Reply clusters_page(Host& host, const Query& query, const HostStatsMap& stats) {
  const auto& clusters = host.configuration().clusters();
  if (query.get("format") == "json") return {200, clusters_json(clusters, stats), "application/json"};
  return {200, clusters_text(clusters, stats)};
}

Reply listeners_page(Host& host, const Query& query) {
  pb::Listeners out;
  std::string text;
  for (const auto& [name, entry] : host.configuration().listeners()) {
    if (!entry.active) continue;
    const auto& addresses = entry.sockets ? entry.sockets->addresses() : entry.active->config->addresses;
    auto* status = out.add_listener_statuses();
    status->set_name(name);
    for (size_t i = 0; i < addresses.size(); i++) {
      fill_address(i == 0 ? status->mutable_local_address() : status->add_additional_local_addresses(), addresses[i]);
      text += name + "::" + addresses[i].text() + "\n";
    }
  }
  if (query.get("format") == "json") return {200, to_json(out, true), "application/json"};
  return {200, text};
}

Reply certs_page(Host& host) {
  pb::Certificates out;
  int64_t now_s = host.started_s() + static_cast<int64_t>(host.uptime_s());
  for (const auto& context : host.configuration().secrets().contexts()) {
    if (!context) continue;
    auto* certificate = out.add_certificates();
    for (const auto& facts : context->ca_facts()) fill(certificate->add_ca_cert(), facts, now_s);
    for (const auto& facts : context->chain_facts()) fill(certificate->add_cert_chain(), facts, now_s);
  }
  return {200, to_json(out, true, true), "application/json"};
}

Reply server_info_page(Host& host) {
  pb::ServerInfo out;
  out.set_version("pinnace/" PINNACE_VERSION);
  out.set_state(static_cast<pb::ServerInfo::State>(host.state()));
  out.mutable_uptime_current_epoch()->set_seconds(static_cast<int64_t>(host.uptime_s()));
  out.mutable_uptime_all_epochs()->set_seconds(static_cast<int64_t>(host.uptime_s()));
  out.set_hot_restart_version("disabled");
  const CommandLine& given = host.command_line();
  auto* options = out.mutable_command_line_options();
  options->set_concurrency(given.concurrency);
  options->set_log_level(given.log_level);
  options->set_component_log_level(given.component_log_level);
  options->set_config_path(given.config_path);
  options->set_config_yaml(given.config_yaml);
  options->mutable_drain_time()->set_seconds(static_cast<int64_t>(given.drain_time_s));
  options->mutable_file_flush_interval()->set_nanos(static_cast<int32_t>(given.flush_interval_ms % 1000 * 1000000));
  options->mutable_file_flush_interval()->set_seconds(static_cast<int64_t>(given.flush_interval_ms / 1000));
  options->set_disable_hot_restart(true);
  *out.mutable_node() = host.bootstrap().node();
  out.mutable_node()->set_user_agent_name("pinnace");
  return {200, to_json(out, true, true), "application/json"};
}

// ?level=X, ?NAME=X, ?paths=NAME:X,NAME:X
Reply logging_page(const Query& query) {
  static constexpr const char* kUsage =
      "\nusage: /logging?<name>=<level> (change single level)"
      "\nusage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)"
      "\nusage: /logging?level=<level> (change all levels)\n"
      "levels: trace debug info warning error critical off \n";
  auto set = [](const std::string& name, const std::string& text) -> std::string {
    auto level = base::parse_log_level(text);
    if (!level) return "error: unknown logger level\n";
    if (name == "level") base::Log::set_level(*level);
    else if (!base::Log::set_level(name, *level)) return "error: unknown logger name\n";
    return {};
  };
  for (const auto& [name, value] : query.all()) {
    std::string wrong;
    if (name == "paths") {
      for (std::string_view rest = value; !rest.empty() && wrong.empty();) {
        std::string pair(rest.substr(0, rest.find(',')));
        rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
        size_t colon = pair.find(':');
        wrong = colon == std::string::npos ? "error: empty logger name or empty logger level\n"
                                           : set(pair.substr(0, colon), pair.substr(colon + 1));
      }
    } else {
      wrong = set(name, value);
    }
    if (!wrong.empty()) return {400, wrong + kUsage};
  }
  std::string out = "active loggers:\n";
  for (const auto& [name, level] : base::Log::levels())
    out += fmt::format("  {}: {}\n", name, base::log_level_name(level));
  return {200, out + "\n"};
}

}  // namespace pinnace::admin
