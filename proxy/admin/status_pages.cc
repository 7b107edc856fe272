// /clusters, /listeners, /certs, /server_info, /logging.
#include <fmt/format.h>
#include <time.h>

#include "envoy/admin/v3/certs.pb.h"
#include "envoy/admin/v3/clusters.pb.h"
#include "envoy/admin/v3/listeners.pb.h"
#include "envoy/admin/v3/server_info.pb.h"
#include "proxy/admin/admin.h"
#include "proxy/base/log.h"

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
    for (const auto& endpoint : entry.endpoints->endpoints) {
      HostStats s = stats_of(stats, name, endpoint->text);
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
      host("region", "");
      host("zone", "");
      host("sub_zone", "");
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
      host->mutable_locality();
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
  out.mutable_command_line_options()->set_concurrency(host.concurrency());
  out.mutable_command_line_options()->set_log_level(std::string(base::log_level_name(base::Log::level())));
  *out.mutable_node() = host.bootstrap().node();
  out.mutable_node()->set_user_agent_name("pinnace");
  return {200, to_json(out, true, true), "application/json"};
}

Reply logging_page(const Query& query) {
  // One level for the process. A name that Envoy knows but pinnace does not is accepted, as its level is part of that
  // one.
  static constexpr const char* kUsage =
      "\nusage: /logging?level=<level> (change all levels)\nlevels: trace debug info warning error critical off \n";
  for (const auto& [name, value] : query.all()) {
    std::string level_text = value;
    if (name == "paths") level_text = value.substr(value.rfind(':') + 1);
    auto level = base::parse_log_level(level_text);
    if (!level) return {400, std::string("error: unknown logger level\n") + kUsage};
    base::Log::set_level(*level);
  }
  std::string out = "active loggers:\n";
  for (const char* name :
       {"admin", "config", "connection", "dns", "http", "listener", "main", "router", "tls", "xds"}) {
    out += fmt::format("  {}: {}\n", name, base::log_level_name(base::Log::level()));
  }
  return {200, out + "\n"};
}

}  // namespace pinnace::admin
