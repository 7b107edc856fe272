#include "proxy/server.h"

#include <malloc.h>
#include <re2/re2.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/post.hpp>
#include <limits>
#include <thread>

#include "proxy/base/log.h"
#include "proxy/base/resident.h"
#include "proxy/regex.h"
#include "xds_client/bootstrap_fields.h"
#include "xds_client/compile/common.h"
#include "xds_client/overload.h"
#include "xds_client/upstream_transport.h"

namespace pinnace {

namespace {

// After it serves: until then what starting needs is still in use.
constexpr auto kSettled = std::chrono::milliseconds(200);

int64_t wall_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

Server::Server(Options options)
    : options_(std::move(options)),
      started_s_(wall_seconds()),
      signals_(control_, SIGTERM, SIGINT, SIGUSR1),
      drain_timer_(control_),
      inbound_drain_timer_(control_),
      settled_timer_(control_) {
  if (options_.concurrency == 0) options_.concurrency = std::max(1u, std::thread::hardware_concurrency());
  signal(SIGPIPE, SIG_IGN);
}

Server::~Server() {
  compiler_.stop();
  compiler_.join();
  for (auto& worker : workers_) worker->stop();
}

// A stat's name → whether it exists, and which part of it is a tag. stats_config.
Result<bool> Server::configure_stats(const xds::Bootstrap& bootstrap) {
  std::vector<stats::TagExtractor> extractors;
  const auto& config = bootstrap.stats_config();
  for (const auto& tag : config.stats_tags()) {
    if (tag.regex().empty()) continue;
    auto regex = Regex::compile(tag.regex());
    if (!regex) {
      PN_LOG(kWarning, "stats", "stats_tags[{}]: {}", tag.tag_name(), regex.error().message);
      continue;
    }
    extractors.push_back(
        {tag.tag_name(), [regex = *regex](std::string_view name, std::string_view& remove, std::string_view& value) {
           return regex->search(name, remove, value);
         }});
  }
  if (config.stats_tags().empty() ||
      (config.has_use_all_default_tags() ? config.use_all_default_tags().value() : true)) {
    for (const auto& [tag, pattern] : default_stats_tags()) {
      auto regex = Regex::compile(pattern);
      if (regex) {
        extractors.push_back(
            {tag, [regex = *regex](std::string_view name, std::string_view& remove, std::string_view& value) {
               return regex->search(name, remove, value);
             }});
      }
    }
  }
  stats::Inclusion included;
  const auto& matcher = config.stats_matcher();
  using Matcher = envoy::config::metrics::v3::StatsMatcher;
  std::string wrong;
  auto compile_list = [&wrong](const auto& list) {
    std::vector<model::StringMatcher> patterns;
    for (const auto& pattern : list.patterns()) {
      auto compiled = compile::string_matcher(pattern);
      if (compiled) patterns.push_back(std::move(*compiled));
      else wrong = compiled.error().message;
    }
    return patterns;
  };
  auto any_of = [](const std::vector<model::StringMatcher>& patterns, std::string_view name) {
    return std::any_of(patterns.begin(), patterns.end(), [&](const auto& pattern) { return pattern.matches(name); });
  };
  switch (matcher.stats_matcher_case()) {
    case Matcher::kRejectAll:
      if (matcher.reject_all()) included = [](std::string_view) { return false; };
      break;
    case Matcher::kInclusionList:
      included = [patterns = compile_list(matcher.inclusion_list()), any_of](std::string_view name) {
        return any_of(patterns, name);
      };
      break;
    case Matcher::kExclusionList:
      included = [patterns = compile_list(matcher.exclusion_list()), any_of](std::string_view name) {
        return !any_of(patterns, name);
      };
      break;
    default: break;
  }
  if (!wrong.empty()) return error("stats_config.stats_matcher: " + wrong);
  store_.configure(std::move(extractors), std::move(included));
  return true;
}

Result<bool> Server::start(const xds::Bootstrap& bootstrap) {
  bootstrap_ = bootstrap;
  bootstrap_.mutable_node()->set_user_agent_name("pinnace");
  auto fields = xds::json_log_fields(bootstrap);
  if (!fields) return fields.error();
  base::Log::set_json(std::move(*fields));
  for (const auto& field : xds::left_out(bootstrap)) {
    PN_LOG(kWarning, "config", "bootstrap: {}: not supported by pinnace, left out", field);
  }
  auto stats = configure_stats(bootstrap);
  if (!stats) return stats.error();
  auto& node = *bootstrap_.mutable_node();
  if (!options_.service_node.empty()) node.set_id(options_.service_node);
  if (!options_.service_cluster.empty()) node.set_cluster(options_.service_cluster);
  if (!options_.service_zone.empty()) node.mutable_locality()->set_zone(options_.service_zone);
  compile_context_.node = node;
  compile_context_.local_ip = net::local_address(options_.local_ip_version == "v6" ? AF_INET6 : AF_INET).ip_text();
  auto runtime = runtime_.load(bootstrap.layered_runtime());
  if (!runtime) return error("layered_runtime." + runtime.error().message);
  uint64_t connections = xds::max_downstream_connections(bootstrap, runtime_);
  if (connections > 0) connection_limit_ = std::make_unique<net::ConnectionLimit>(connections);
  store_.computed_gauge("server.state", [this] { return static_cast<uint64_t>(state()); });
  store_.computed_gauge("server.live", [this] { return uint64_t{live_}; });
  store_.computed_gauge("server.uptime", [this] { return uptime_s(); });
  store_.computed_gauge("server.days_until_first_cert_expiring", [this] { return days_until_first_expiry(); });
  store_.computed_gauge("server.memory_allocated", [this] { return heap().allocated; });
  store_.computed_gauge("server.memory_heap_size", [this] { return heap().size; });
  store_.computed_gauge("server.concurrency", [this] { return uint64_t{options_.concurrency}; });
  store_.computed_gauge("listener_manager.workers_started", [this] { return uint64_t{live_}; });
  for (uint32_t i = 0; i < options_.concurrency; i++) {
    Worker::Options worker;
    worker.index = i;
    worker.drain_time_ms = options_.drain_time_s * 1000;
    worker.log_flush_ms = options_.flush_interval_ms;
    worker.connection_limit = connection_limit_.get();
    worker.post_to = [this](size_t to, std::function<void(listener::ListenerSet&)> work) {
      workers_[to]->post([work = std::move(work)](Worker& other) { work(other.listeners()); });
    };
    workers_.push_back(std::make_unique<Worker>(store_, sinks_, std::move(worker)));
  }
  xds::Configuration::Hooks hooks;
  hooks.publish = [this](const std::shared_ptr<const model::Update>& update) { publish(update); };
  hooks.initialized = [this] { initialized(); };
  hooks.workers = options_.concurrency;
  configuration_ =
      std::make_unique<xds::Configuration>(control_, compiler_, compile_context_, tls_registry_, std::move(hooks));
  if (bootstrap.has_admin() && bootstrap.admin().has_address()) {
    auto address = compile::address(bootstrap.admin().address());
    if (!address) return error("admin." + address.error().message);
    admin_ = std::make_unique<admin::Admin>(control_, static_cast<admin::Host&>(*this));
    auto listening = admin_->listen(*address);
    if (!listening) return error("admin.address: " + listening.error().message);
  }
  auto transports = std::make_unique<xds::UpstreamTransportFactory>(control_, store_);
  transports_ = transports.get();
  return configuration_->start(bootstrap_, std::move(transports));
}

void Server::publish(const std::shared_ptr<const model::Update>& update) {
  transports_->apply(update);
  for (auto& worker : workers_) worker->apply(update);
}

// ENVOY: workers begin to accept when everything the first configuration needs is there.
void Server::initialized() {
  boost::asio::post(control_, [this] {
    // LIVE means that every worker listens: each answers once it has taken over what was published before.
    auto left = std::make_shared<std::atomic<size_t>>(workers_.size());
    for (auto& worker : workers_) {
      worker->start();
      worker->post([this, left](Worker&) {
        if (--*left > 0) return;
        boost::asio::post(control_, [this] {
          live_ = true;
          settled_timer_.expires_after(kSettled);
          settled_timer_.async_wait([](boost::system::error_code failed) {
            if (!failed) base::give_back_memory();
          });
          PN_LOG(kInfo, "main", "serving: {} workers, {} clusters, {} listeners", workers_.size(),
                 configuration_->clusters().entries().size(), configuration_->listeners().size());
        });
      });
    }
  });
}

admin::State Server::state() const {
  if (!live_) {
    bool clusters = configuration_ && configuration_->clusters_initialized();
    return clusters ? admin::State::kInitializing : admin::State::kPreInitializing;
  }
  return draining_ || health_failed_ ? admin::State::kDraining : admin::State::kLive;
}

uint64_t Server::uptime_s() const { return static_cast<uint64_t>(wall_seconds() - started_s_); }

void Server::gather_hosts(std::function<void(admin::HostStatsMap)> done) {
  auto result = std::make_shared<admin::HostStatsMap>();
  if (!live_) return done(std::move(*result));
  auto left = std::make_shared<size_t>(workers_.size());
  auto finished = std::make_shared<std::function<void(admin::HostStatsMap)>>(std::move(done));
  for (auto& worker : workers_) {
    worker->post([this, result, left, finished](Worker& w) {
      auto own = std::make_shared<admin::HostStatsMap>();
      w.clusters().each([&](upstream::Cluster& cluster) {
        for (const auto& host : cluster.hosts()) {
          auto& stats = (*own)[cluster.config()->name][host->endpoint->text];
          stats.cx_active += host->active_connections;
          stats.cx_total += host->total_connections;
          stats.cx_connect_fail += host->connect_failures;
          stats.rq_active += host->active_requests;
          stats.rq_total += host->total_requests;
          stats.rq_success += host->success;
          stats.rq_error += host->errors;
        }
      });
      boost::asio::post(control_, [result, own, left, finished] {
        for (auto& [cluster, hosts] : *own) {
          for (auto& [host, stats] : hosts) (*result)[cluster][host].add(stats);
        }
        if (--*left == 0) (*finished)(std::move(*result));
      });
    });
  }
}

void Server::drain_listeners(bool inbound_only, bool graceful, bool skip_exit) {
  if (graceful) {
    // ENVOY: a graceful drain that has begun is not begun again.
    if (drained_ >= (inbound_only ? Drained::kInbound : Drained::kAll)) return;
    drained_ = inbound_only ? Drained::kInbound : Drained::kAll;
  }
  for (auto& worker : workers_) worker->post([=](Worker& w) { w.listeners().drain(inbound_only, !graceful, false); });
  if (!graceful || skip_exit) return;
  auto& timer = inbound_only ? inbound_drain_timer_ : drain_timer_;
  timer.expires_after(std::chrono::seconds(options_.drain_time_s));
  timer.async_wait([this, inbound_only](boost::system::error_code failed) {
    if (failed) return;
    for (auto& worker : workers_) worker->post([=](Worker& w) { w.listeners().drain(inbound_only, true, false); });
  });
}

// mallinfo2() walks the heap under its locks: once a second at most.
const Server::Heap& Server::heap() {
  if (int64_t now = wall_seconds(); now != heap_.read_s) {
    auto info = mallinfo2();
    heap_ = {now, info.uordblks + info.hblkhd, info.arena + info.hblkhd};
  }
  return heap_;
}

// ENVOY: without certificates the largest number that fits 32 bits, with one that is over 0.
uint64_t Server::days_until_first_expiry() const {
  int64_t first = std::numeric_limits<int64_t>::max();
  if (configuration_) {
    for (const auto& context : configuration_->secrets().contexts()) {
      if (!context) continue;
      for (const auto* facts : {&context->chain_facts(), &context->ca_facts()}) {
        for (const auto& certificate : *facts) first = std::min(first, certificate.valid_until);
      }
    }
  }
  if (first == std::numeric_limits<int64_t>::max()) return std::numeric_limits<uint32_t>::max();
  constexpr int64_t kDay = 24 * 3600;
  return static_cast<uint64_t>(std::max<int64_t>(0, (first - wall_seconds()) / kDay));
}

// ENVOY: while it is failed, connections are told to go elsewhere.
void Server::set_health_failed(bool failed) {
  health_failed_ = failed;
  for (auto& worker : workers_) worker->post([=](Worker& w) { w.listeners().set_unhealthy(failed); });
}

// UNLIKE ENVOY: SIGTERM drains. No new connections, requests in progress are answered, then the process ends; at the
// deadline it ends whatever is left.
void Server::drain_and_stop() {
  if (draining_) return stop();
  draining_ = true;
  uint64_t limit = std::min<uint64_t>(options_.drain_time_s, 30);
  PN_LOG(kInfo, "main", "draining: at most {} s (a second signal ends at once)", limit);
  for (auto& worker : workers_) worker->post([](Worker& w) { w.listeners().drain(false, true, true); });
  poll_drained(std::chrono::steady_clock::now() + std::chrono::seconds(limit));
}

void Server::poll_drained(std::chrono::steady_clock::time_point deadline) {
  auto count = std::make_shared<std::atomic<size_t>>(0);
  auto left = std::make_shared<std::atomic<size_t>>(workers_.size());
  for (auto& worker : workers_) {
    worker->post([this, count, left, deadline](Worker& w) {
      *count += w.listeners().session_count();
      if (--*left > 0) return;
      boost::asio::post(control_, [this, count, deadline] {
        if (*count == 0 || std::chrono::steady_clock::now() >= deadline) return stop();
        drain_timer_.expires_after(std::chrono::milliseconds(50));
        drain_timer_.async_wait([this, deadline](boost::system::error_code) { poll_drained(deadline); });
      });
    });
  }
  if (!live_) stop();
}

void Server::wait_for_signals() {
  signals_.async_wait([this](boost::system::error_code failed, int number) {
    if (failed) return;
    if (number == SIGUSR1) {
      sinks_.reopen();
      PN_LOG(kInfo, "main", "log files opened again");
    } else if (number == SIGTERM) {
      drain_and_stop();
    } else {
      stop();
    }
    wait_for_signals();
  });
}

int Server::run() {
  wait_for_signals();
  auto work = boost::asio::make_work_guard(control_);
  control_.run();
  for (auto& worker : workers_) worker->stop();
  compiler_.join();
  configuration_.reset();
  admin_.reset();
  return exit_code_;
}

void Server::stop() { control_.stop(); }

}  // namespace pinnace
