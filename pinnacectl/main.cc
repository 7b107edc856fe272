// pinnacectl: what a running proxy has in force, as tables.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <boost/json/serialize.hpp>
#include <iostream>

#include "pinnacectl/admin_client.h"
#include "pinnacectl/tables.h"

namespace {

using namespace pinnace::ctl;
namespace json = boost::json;

// A member by path ("a.b.c"), as text; empty when there is none.
const json::value* member(const json::value& value, std::string_view path) {
  const json::value* at = &value;
  while (!path.empty()) {
    size_t dot = path.find('.');
    if (!at->is_object()) return nullptr;
    at = at->as_object().if_contains(path.substr(0, dot));
    if (!at) return nullptr;
    path = dot == std::string_view::npos ? std::string_view() : path.substr(dot + 1);
  }
  return at;
}

std::string text(const json::value& value, std::string_view path) {
  const json::value* at = member(value, path);
  if (!at) return "";
  return at->is_string() ? std::string(at->as_string()) : json::serialize(*at);
}

const json::array& list(const json::value& value, std::string_view path) {
  static const json::array kNone;
  const json::value* at = member(value, path);
  return at && at->is_array() ? at->as_array() : kNone;
}

std::string address_of(const json::value& value, const std::string& path) {
  std::string host = text(value, path + ".socket_address.address");
  return host.empty() ? text(value, path + ".pipe.path")
                      : host + ":" + text(value, path + ".socket_address.port_value");
}

int fail(const pinnace::Error& error) {
  std::cerr << "pinnacectl: " << error.message << "\n";
  return 1;
}

int listeners(const std::string& admin) {
  auto dump = get_json(admin, "/config_dump?mask=dynamic_listeners,static_listeners");
  if (!dump) return fail(dump.error());
  std::vector<Row> rows;
  for (const auto& section : list(*dump, "configs")) {
    auto add = [&](const json::value& listener, const char* state) {
      std::string chains;
      for (const auto& chain : list(listener, "filter_chains")) {
        std::string name = text(chain, "name");
        chains += (chains.empty() ? "" : ", ") + (name.empty() ? std::string("(unnamed)") : name);
      }
      if (member(listener, "default_filter_chain")) chains += chains.empty() ? "default" : ", default";
      rows.push_back({text(listener, "name"), address_of(listener, "address"), text(listener, "traffic_direction"),
                      state, chains});
    };
    for (const auto& item : list(section, "static_listeners")) add(*member(item, "listener"), "static");
    for (const auto& item : list(section, "dynamic_listeners")) {
      if (const auto* state = member(item, "active_state.listener")) add(*state, "active");
      if (const auto* state = member(item, "warming_state.listener")) add(*state, "warming");
      if (member(item, "error_state"))
        rows.push_back({text(item, "name"), "", "", "REFUSED", text(item, "error_state.details")});
    }
  }
  print_table({"LISTENER", "ADDRESS", "DIRECTION", "STATE", "CHAINS"}, rows);
  return 0;
}

int routes(const std::string& admin) {
  auto dump = get_json(admin, "/config_dump?mask=dynamic_route_configs,static_route_configs");
  if (!dump) return fail(dump.error());
  std::vector<Row> rows;
  for (const auto& section : list(*dump, "configs")) {
    for (const char* kind : {"static_route_configs", "dynamic_route_configs"}) {
      for (const auto& item : list(section, kind)) {
        const auto* config = member(item, "route_config");
        if (!config) continue;
        for (const auto& host : list(*config, "virtual_hosts")) {
          std::string domains;
          const auto& names = list(host, "domains");
          if (!names.empty()) domains = std::string(names[0].as_string());
          if (names.size() > 1) domains += fmt::format(" +{}", names.size() - 1);
          for (const auto& route : list(host, "routes")) {
            std::string match = text(route, "match.prefix");
            match = match.empty() ? text(route, "match.path") : match + "*";
            if (match.empty()) match = text(route, "match.safe_regex.regex");
            std::string to = text(route, "route.cluster");
            for (const auto& weighted : list(route, "route.weighted_clusters.clusters")) {
              if (!to.empty()) to += ", ";
              to += fmt::format("{}={}", text(weighted, "name"), text(weighted, "weight"));
            }
            if (to.empty() && member(route, "direct_response")) to = "answer " + text(route, "direct_response.status");
            if (to.empty() && member(route, "redirect")) to = "redirect";
            rows.push_back(
                {text(*config, "name"), domains, match, to, text(route, "metadata.filter_metadata.istio.config")});
          }
        }
      }
    }
  }
  print_table({"ROUTES", "DOMAINS", "MATCH", "TO", "FROM RESOURCE"}, rows);
  return 0;
}

int clusters(const std::string& admin) {
  auto dump = get_json(admin, "/config_dump?mask=static_clusters,dynamic_active_clusters,dynamic_warming_clusters");
  if (!dump) return fail(dump.error());
  std::vector<Row> rows;
  for (const auto& section : list(*dump, "configs")) {
    for (auto [kind, state] : {std::pair("static_clusters", "static"), std::pair("dynamic_active_clusters", "active"),
                               std::pair("dynamic_warming_clusters", "warming")}) {
      for (const auto& item : list(section, kind)) {
        const auto* cluster = member(item, "cluster");
        if (cluster) {
          rows.push_back({text(*cluster, "name"), text(*cluster, "type"), text(*cluster, "lb_policy"), state,
                          text(*cluster, "metadata.filter_metadata.istio.config")});
        }
        if (member(item, "error_state")) rows.push_back({"", "", "", "REFUSED", text(item, "error_state.details")});
      }
    }
  }
  print_table({"CLUSTER", "TYPE", "POLICY", "STATE", "FROM RESOURCE"}, rows);
  return 0;
}

int endpoints(const std::string& admin) {
  auto status = get_json(admin, "/clusters?format=json");
  if (!status) return fail(status.error());
  std::vector<Row> rows;
  for (const auto& cluster : list(*status, "cluster_statuses")) {
    for (const auto& host : list(cluster, "host_statuses")) {
      std::string total, active;
      for (const auto& stat : list(host, "stats")) {
        if (text(stat, "name") == "rq_total") total = text(stat, "value");
        if (text(stat, "name") == "cx_active") active = text(stat, "value");
      }
      rows.push_back({text(cluster, "name"), address_of(host, "address"), text(host, "health_status.eds_health_status"),
                      text(host, "weight"), active.empty() ? "0" : active, total.empty() ? "0" : total});
    }
  }
  print_table({"CLUSTER", "ENDPOINT", "HEALTH", "WEIGHT", "CONNECTIONS", "REQUESTS"}, rows);
  return 0;
}

int certs(const std::string& admin) {
  auto page = get_json(admin, "/certs");
  if (!page) return fail(page.error());
  std::vector<Row> rows;
  for (const auto& certificate : list(*page, "certificates")) {
    for (auto [kind, label] : {std::pair("cert_chain", "identity"), std::pair("ca_cert", "authority")}) {
      for (const auto& item : list(certificate, kind)) {
        std::string names;
        for (const auto& san : list(item, "subject_alt_names")) {
          for (const char* type : {"uri", "dns", "ip_address"}) {
            std::string name = text(san, type);
            if (!name.empty()) names += (names.empty() ? "" : ", ") + name;
          }
        }
        rows.push_back({label, names, text(item, "expiration_time"), text(item, "serial_number")});
      }
    }
  }
  print_table({"KIND", "NAMES", "EXPIRES", "SERIAL"}, rows);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "pinnacectl: what a running proxy has in force, as tables.\n\nExample: pinnacectl routes --admin "
      "127.0.0.1:15000"};
  std::string admin = "127.0.0.1:15000";
  app.add_option("-a,--admin", admin, "the proxy's admin address")->capture_default_str();
  app.require_subcommand(1);
  app.fallthrough();
  int result = 0;
  auto command = [&](const char* name, const char* help, int (*run)(const std::string&)) {
    app.add_subcommand(name, help)->callback([&admin, &result, run] { result = run(admin); });
  };
  command("listeners", "listeners, their addresses and filter chains", listeners);
  command("routes", "virtual hosts and routes, and the resource each came from", routes);
  command("clusters", "clusters and the resource each came from", clusters);
  command("endpoints", "endpoints with health and load", endpoints);
  command("certs", "identities and authorities in use", certs);
  command("ready", "LIVE, or why not", [](const std::string& where) {
    auto page = get(where, "/ready");
    if (!page) return fail(page.error());
    std::cout << *page;
    return *page == "LIVE\n" ? 0 : 1;
  });
  CLI11_PARSE(app, argc, argv);
  return result;
}
