#include "translator/distribute/distributor.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "proxy/base/log.h"
#include "translator/distribute/bootstrap.h"
#include "translator/distribute/pod_server.h"

namespace pinnace::translator {
namespace fs = std::filesystem;
namespace {

// sockaddr_un, less the final zero.
constexpr size_t kMaxSocketPath = 107;

std::string fill(std::string text, const Pod& pod) {
  auto replace = [&](std::string_view from, const std::string& to) {
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
      text.replace(at, from.size(), to);
  };
  replace("{pod}", pod.meta.name);
  replace("{namespace}", pod.meta.ns);
  return text;
}

void write_if_different(const std::string& path, const std::string& text) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream old;
  old << in.rdbuf();
  if (in && old.str() == text) return;
  auto temporary = path + ".new";
  std::ofstream(temporary, std::ios::binary) << text;
  std::error_code failed;
  fs::rename(temporary, path, failed);
  if (failed) PN_LOG(kError, "run", "{}: {}", path, failed.message());
}

}  // namespace

Distributor::Distributor(DistributorOptions options, SecretStore& secrets)
    : options_(std::move(options)), secrets_(secrets) {}
Distributor::~Distributor() { close(); }

Result<void> Distributor::listen() {
  if (options_.ads_address.empty()) return {};
  auto server = PodServer::start(*this, options_.ads_address, Caller{});
  if (!server) return server.error();
  tcp_ = std::move(*server);
  PN_LOG(kInfo, "run", "configuration (no secrets) on {}", options_.ads_address);
  return {};
}

std::string Distributor::host_path(const Pod& pod) const {
  return fmt::format("{}/{}.{}", options_.run_directory, pod.meta.ns, pod.meta.name);
}

void Distributor::publish(std::shared_ptr<const MeshState> state, const std::string& reason) {
  {
    std::lock_guard guard(lock_);
    state_ = std::move(state);
    translated_.clear();
    PN_LOG(kInfo, "run", "configuration changed: {}", reason);
  }
  open_servers();
  push();
}

void Distributor::push() {
  std::lock_guard guard(lock_);
  for (auto* stream : streams_) stream->update();
}

// Servers start and stop outside the lock: their streams take it to end.
void Distributor::open_servers() {
  std::shared_ptr<const MeshState> state;
  {
    std::lock_guard guard(lock_);
    state = state_;
  }
  std::set<std::pair<std::string, std::string>> wanted;
  for (auto& pod : state->pods()) {
    if (!is_injected(pod)) continue;
    std::pair key{pod.meta.ns, pod.meta.name};
    wanted.insert(key);
    auto directory = host_path(pod), socket = directory + "/socket";
    if (socket.size() > kMaxSocketPath) {
      PN_LOG(kError, "run", "{}: longer than a socket path may be ({}); use a shorter --run-dir", socket,
             kMaxSocketPath);
      continue;
    }
    std::error_code failed;
    fs::create_directories(directory, failed);
    chmod(directory.c_str(), 0755);
    auto in_pod = options_.socket_path_in_pod.empty() ? socket : fill(options_.socket_path_in_pod, pod);
    write_if_different(directory + "/bootstrap.json", make_bootstrap(*state, proxy_facts(*state, pod), in_pod));
    if (servers_.contains(key)) continue;
    auto server = PodServer::start(*this, "unix:" + socket, Caller{pod.meta.name, pod.meta.ns});
    if (!server) {
      PN_LOG(kError, "run", "{}", server.error().message);
      continue;
    }
    chmod(socket.c_str(), 0666);  // the proxy runs as another user; the directory is what a pod is given
    servers_.emplace(key, std::move(*server));
  }
  for (auto server = servers_.begin(); server != servers_.end();) {
    if (wanted.contains(server->first)) {
      ++server;
      continue;
    }
    PN_LOG(kInfo, "run", "pod {}.{} is gone", server->first.second, server->first.first);
    server->second->stop();
    std::error_code failed;
    fs::remove_all(fmt::format("{}/{}.{}", options_.run_directory, server->first.first, server->first.second), failed);
    server = servers_.erase(server);
  }
}

void Distributor::tick() {
  bool rotated;
  {
    std::lock_guard guard(lock_);
    rotated = secrets_.expire(std::chrono::system_clock::now()) | secrets_.files_changed();
    for (auto* stream : streams_) stream->tick();
  }
  if (rotated) push();
}

void Distributor::close() {
  for (auto& [key, server] : servers_) server->stop();
  servers_.clear();
  if (tcp_) tcp_->stop();
  tcp_.reset();
}

bool Distributor::knows(const std::string& pod, const std::string& ns) const {
  auto* found = state_ ? state_->pod(pod, ns) : nullptr;
  return found && is_injected(*found);
}

View Distributor::view(const std::string& pod, const std::string& ns, bool router, bool with_secrets) {
  static const auto kEmpty = std::make_shared<const ResourceSet>();
  View out{kEmpty, nullptr};
  auto* found = state_ ? state_->pod(pod, ns) : nullptr;
  if (!found || !is_injected(*found)) return out;
  auto& translated = translated_[fmt::format("{}/{}/{}", ns, pod, router)];
  if (!translated) translated = translate(*state_, ProxyFacts{found, router});
  out.resources = translated;
  if (with_secrets)
    out.secret = [this, asker = Asker{fmt::format("{}.{}", pod, ns),
                                      spiffe_id(state_->config().trust_domain, ns, found->service_account)}](
                     const std::string& name) { return secrets_.find(asker, name); };
  return out;
}

}  // namespace pinnace::translator
