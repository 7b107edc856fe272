// pinnace: the proxy. Takes Envoy's command line; what has no meaning here is accepted and ignored, as pilot-agent
// needs.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>

#include "proxy/base/log.h"
#include "proxy/server.h"
#include "tls/memory.h"

int main(int argc, char** argv) {
  pinnace::tls::keep_record_buffers();
  pinnace::Options options;
  std::string mode = "serve", ignored;
  bool flag = false;
  CLI::App app{
      "pinnace: a service-mesh data plane that takes Envoy's place.\n"
      "It reads Envoy's bootstrap, speaks xDS, and serves until SIGTERM (which drains).\n\n"
      "Example: pinnace -c bootstrap.yaml --concurrency 2\n"
      "Then:    curl localhost:15000/config_dump   (the admin address is in the bootstrap)"};
  app.set_version_flag("--version", "pinnace " PINNACE_VERSION);
  app.add_option("-c,--config-path", options.config_path, "bootstrap, JSON or YAML");
  app.add_option("--config-yaml", options.config_yaml, "bootstrap text merged over the file");
  app.add_option("--concurrency", options.concurrency, "worker threads (default: one per core)");
  app.add_option("-l,--log-level", options.log_level, "trace, debug, info, warning, error, critical or off")
      ->capture_default_str();
  app.add_option("--component-log-level", options.component_log_level,
                 "levels of single components: http:debug,xds:warning");
  app.add_option("--drain-time-s", options.drain_time_s, "seconds that a removed or changed listener's connections get")
      ->capture_default_str();
  app.add_option("--file-flush-interval-msec", options.flush_interval_ms, "how long an access log line may wait")
      ->capture_default_str();
  app.add_option("--local-address-ip-version", options.local_ip_version,
                 "of the address by which clients on this machine are told to origins")
      ->check(CLI::IsMember({"v4", "v6"}));
  app.add_option("--service-node", options.service_node, "in the place of the bootstrap's node.id");
  app.add_option("--service-cluster", options.service_cluster, "in the place of its node.cluster");
  app.add_option("--service-zone", options.service_zone, "in the place of its node.locality.zone");
  app.add_option("--mode", mode, "serve, or validate: check the bootstrap and exit")
      ->check(CLI::IsMember({"serve", "validate"}));
  auto* accepted = app.add_option_group("accepted for Envoy's sake, without effect");
  for (const char* name : {"--drain-strategy", "--file-flush-min-size-kb", "--restart-epoch",
                           "--parent-shutdown-time-s", "--base-id", "--log-path", "--log-format"}) {
    accepted->add_option(name, ignored);
  }
  for (const char* name : {"--disable-hot-restart", "--allow-unknown-static-fields", "--skip-deprecated-logs",
                           "--enable-core-dump", "--reject-unknown-dynamic-fields", "--use-dynamic-base-id"}) {
    accepted->add_flag(name, flag);
  }
  CLI11_PARSE(app, argc, argv);

  auto level = pinnace::base::parse_log_level(options.log_level);
  if (!level) {
    std::cerr << "pinnace: -l " << options.log_level
              << ": not a log level (trace debug info warning error critical off)\n";
    return 1;
  }
  pinnace::base::Log::set_level(*level);
  for (const auto& pair : CLI::detail::split(options.component_log_level, ',')) {
    size_t colon = pair.find(':');
    auto own = colon == std::string::npos ? std::nullopt : pinnace::base::parse_log_level(pair.substr(colon + 1));
    if (!pair.empty() && (!own || !pinnace::base::Log::set_level(pair.substr(0, colon), *own))) {
      std::cerr << "pinnace: --component-log-level: '" << pair << "' is no component:level that is known; left out\n";
    }
  }
  if (options.config_path.empty() && options.config_yaml.empty()) {
    std::cerr << "pinnace: no configuration: give a bootstrap with -c FILE (see --help)\n";
    return 1;
  }
  auto bootstrap = pinnace::xds::load_bootstrap(options.config_path, options.config_yaml);
  if (!bootstrap) {
    std::cerr << "pinnace: " << bootstrap.error().message << "\n";
    return 1;
  }
  pinnace::Server server(options);
  auto started = server.start(*bootstrap);
  if (!started) {
    std::cerr << "pinnace: " << (options.config_path.empty() ? "--config-yaml" : options.config_path) << ": "
              << started.error().message << "\n";
    return 1;
  }
  if (mode == "validate") {
    std::cout << "configuration '" << options.config_path << "' OK\n";
    return 0;
  }
  return server.run();
}
