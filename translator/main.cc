// pinnace-translator: the embedded control plane. Watches a folder, serves each pod's proxy on its own socket.
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "proxy/base/log.h"
#include "translator/distribute/distributor.h"
#include "translator/dump.h"
#include "translator/fetch/folder.h"
#include "translator/translate/check.h"

namespace {

using namespace pinnace;
using namespace pinnace::translator;

struct Options {
  std::string config, run_dir, mesh_config, ads_address, ca_dir, credentials_dir, trust_domain, dump, dump_type;
  std::string log_level = "info", socket_path_in_pod, cert_ttl = "1h";
  bool validate = false;
};

int fail(const std::string& message) {
  fmt::print(stderr, "pinnace-translator: {}\n", message);
  return 1;
}

Result<MeshConfig> read_mesh_config(const Options& options) {
  MeshConfig config;
  if (!options.mesh_config.empty()) {
    std::ifstream in(options.mesh_config);
    if (!in) return error(fmt::format("{}: cannot be read", options.mesh_config));
    std::ostringstream text;
    text << in.rdbuf();
    auto parsed = parse_mesh_config(text.str(), options.mesh_config);
    if (!parsed) return parsed.error();
    config = *parsed;
  }
  if (!options.trust_domain.empty()) config.trust_domain = options.trust_domain;
  return config;
}

std::string describe(const Folder::Change& change) {
  std::string out;
  for (size_t i = 0; i < change.files.size() && i < 4; i++) out += (i ? ", " : "") + change.files[i];
  if (change.files.size() > 4) out += fmt::format(" and {} more", change.files.size() - 4);
  return out.empty() ? "nothing" : out;
}

// Builds the mesh of the folder's objects; says once what does not fit together in it.
std::shared_ptr<const MeshState> build(const Folder& folder, const MeshConfig& config, std::vector<std::string>& said) {
  auto objects = folder.objects();
  auto state = MeshState::build(objects, config);
  auto warnings = check(objects, *state);
  for (auto& warning : warnings)
    if (std::find(said.begin(), said.end(), warning) == said.end()) fmt::print(stderr, "{}\n", warning);
  said = std::move(warnings);
  return state;
}

int serve(const Options& options, Folder& folder, const MeshConfig& config, const Folder::Change& first, int inotify) {
  std::error_code failed;
  auto run_dir = std::filesystem::absolute(options.run_dir, failed).string();
  std::filesystem::create_directories(run_dir, failed);
  if (failed) return fail(fmt::format("{}: {}", run_dir, failed.message()));
  auto ca = CertificateAuthority::open(options.ca_dir.empty() ? run_dir + "/ca" : options.ca_dir, config.trust_domain);
  if (!ca) return fail(ca.error().message);
  auto ttl = parse_duration(options.cert_ttl);
  if (!ttl || *ttl < std::chrono::seconds(2)) return fail("--cert-ttl: expected a duration of at least 2s, such as 1h");
  SecretStore secrets(**ca, options.credentials_dir, std::chrono::duration_cast<std::chrono::seconds>(*ttl));
  Distributor distributor({run_dir, options.ads_address, options.socket_path_in_pod}, secrets);

  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGTERM, SIGINT}) sigaddset(&signals, signal);
  int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);

  std::vector<std::string> said;
  distributor.publish(build(folder, config, said), describe(first));
  if (auto listening = distributor.listen(); !listening) return fail(listening.error().message);
  PN_LOG(kInfo, "run", "serving {} from {}", run_dir, options.config);
  pollfd fds[] = {{signal_fd, POLLIN, 0}, {inotify, POLLIN, 0}};
  while (true) {
    poll(fds, 2, 500);
    if (fds[0].revents & POLLIN) break;
    if (fds[1].revents & POLLIN) {
      // An editor's save, or a checkout, is many events: wait until they pause.
      do {
        folder.drain();
        fds[1].revents = 0;
      } while (poll(&fds[1], 1, 50) > 0);
      auto change = folder.scan();
      if (!change) {
        PN_LOG(kError, "fetch", "{}", change.error().message);
      } else {
        for (auto& problem : change->problems) fmt::print(stderr, "{}\n", problem);
        if (change->any) distributor.publish(build(folder, config, said), describe(*change));
      }
    }
    distributor.tick();
  }
  PN_LOG(kInfo, "run", "terminating");
  distributor.close();
  close(signal_fd);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{
      "Reads Kubernetes and Istio YAML from a folder and configures the mesh's proxies from it, without Kubernetes.\n\n"
      "For every Pod it serves <run-dir>/<namespace>.<pod>/socket (configuration and the pod's certificate) and "
      "writes\n"
      "bootstrap.json beside it: start a proxy with `pinnace -c .../bootstrap.json`. Files are watched; an edit is\n"
      "pushed at once, and a broken file leaves its last good state in force.\n\n"
      "Examples:\n"
      "  pinnace-translator --config mesh/ --run-dir /run/pinnace --mesh-config mesh-config.yaml\n"
      "  pinnace-translator --config mesh/ --validate\n"
      "  pinnace-translator --config mesh/ --dump productpage-v1-0.default --type rds"};
  app.add_option("--config", options.config, "Folder of *.yaml and *.yml, searched recursively")
      ->required()
      ->type_name("DIR");
  app.add_option("--run-dir", options.run_dir, "Where the pods' sockets and bootstraps go")->type_name("DIR");
  app.add_option("--mesh-config", options.mesh_config, "Mesh-wide settings in istiod's form (accessLogFile, ...)")
      ->type_name("FILE");
  app.add_option("--ads-address", options.ads_address, "Also serve configuration, never secrets, over TCP")
      ->type_name("IP:PORT");
  app.add_option("--cert-ttl", options.cert_ttl, "Life of an identity; renewed at about 80%")->capture_default_str();
  app.add_option("--ca-dir", options.ca_dir, "Where the mesh root is kept (default <run-dir>/ca)")->type_name("DIR");
  app.add_option("--credentials-dir", options.credentials_dir,
                 "Files for gateways: /etc/certs/a.crt is DIR/etc/certs/a.crt, credentialName x is DIR/x/tls.{crt,key}")
      ->type_name("DIR");
  app.add_option("--trust-domain", options.trust_domain, "Overrides trustDomain of --mesh-config")->type_name("NAME");
  app.add_flag("--validate", options.validate, "Only check the folder; exit 1 and list what is wrong");
  app.add_option("--dump", options.dump, "Print a pod's translation as JSON and exit")->type_name("POD[.NAMESPACE]");
  app.add_option("--type", options.dump_type, "With --dump: only this type")
      ->check(CLI::IsMember({"cds", "eds", "lds", "rds"}));
  app.add_option("--log-level", options.log_level, "trace, debug, info, warning, error")->capture_default_str();
  app.add_option("--socket-path-in-pod", options.socket_path_in_pod,
                 "The socket's path as the proxy sees it; {pod} and {namespace} are filled in")
      ->type_name("TEMPLATE");
  CLI11_PARSE(app, argc, argv);

  auto level = base::parse_log_level(options.log_level);
  if (!level) return fail("--log-level: unknown level " + options.log_level);
  base::Log::set_level(*level);
  // Before any thread starts, so that all of them leave these to the main loop.
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGTERM, SIGINT}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  auto config = read_mesh_config(options);
  if (!config) return fail(config.error().message);
  Folder folder(options.config);
  bool one_shot = options.validate || !options.dump.empty();
  int inotify = -1;
  if (!one_shot) {
    if (options.run_dir.empty()) return fail("--run-dir is required");
    auto watched = folder.watch();
    if (!watched) return fail(watched.error().message);
    inotify = *watched;
  }
  auto first = folder.scan();
  if (!first) return fail(first.error().message);
  for (auto& problem : first->problems) fmt::print(stderr, "{}\n", problem);
  std::vector<std::string> said;
  if (options.validate) {
    build(folder, *config, said);
    return first->problems.empty() && said.empty() ? 0 : 1;
  }
  if (!options.dump.empty()) {
    auto dumped = dump(*MeshState::build(folder.objects(), *config), options.dump, options.dump_type);
    if (!dumped) return fail(dumped.error().message);
    fmt::print("{}\n", *dumped);
    return 0;
  }
  return serve(options, folder, *config, *first, inotify);
}
