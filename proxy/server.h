// Server: the process: control thread, compile thread, workers, admin, signals, drain.
// THREAD: control, but for the constructor. LIFETIME: main's.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <memory>
#include <string>
#include <vector>

#include "proxy/admin/admin.h"
#include "proxy/worker.h"
#include "xds_client/bootstrap.h"
#include "xds_client/configuration.h"

namespace pinnace::xds {
class UpstreamTransportFactory;
}

namespace pinnace {

using Options = admin::CommandLine;

class Server final : private admin::Host {
 public:
  explicit Server(Options options);
  ~Server();

  // ERRORS: the bootstrap or a static resource cannot be used. Nothing runs then.
  Result<bool> start(const xds::Bootstrap& bootstrap);
  // Serves until it is told to stop; returns the exit code.
  int run();

 private:
  // admin::Host
  admin::State state() const override;
  const xds::Configuration& configuration() const override { return *configuration_; }
  const xds::Bootstrap& bootstrap() const override { return bootstrap_; }
  stats::Store& stats() override { return store_; }
  uint64_t uptime_s() const override;
  const Options& command_line() const override { return options_; }
  int64_t started_s() const override { return started_s_; }
  void gather_hosts(std::function<void(admin::HostStatsMap)> done) override;
  void drain_listeners(bool inbound_only, bool graceful, bool skip_exit) override;
  void set_health_failed(bool failed) override;
  void quit() override { stop(); }

  void publish(const std::shared_ptr<const model::Update>& update);
  void initialized();
  // ERRORS: a pattern that cannot be understood.
  Result<bool> configure_stats(const xds::Bootstrap& bootstrap);
  void wait_for_signals();
  uint64_t days_until_first_expiry() const;
  struct Heap {
    int64_t read_s = 0;
    uint64_t allocated = 0, size = 0;
  };
  const Heap& heap();
  void drain_and_stop();
  void poll_drained(std::chrono::steady_clock::time_point deadline);
  void stop();

  Options options_;
  xds::Bootstrap bootstrap_;
  int64_t started_s_;
  stats::Store store_;
  access_log::SinkThread sinks_;
  model::Ids ids_;
  compile::TlsRegistry tls_registry_;
  compile::Runtime runtime_;
  compile::Context compile_context_{ids_, store_, sinks_, tls_registry_, runtime_};
  boost::asio::io_context control_{1};
  boost::asio::thread_pool compiler_{1};
  boost::asio::signal_set signals_;
  boost::asio::steady_timer drain_timer_, inbound_drain_timer_, settled_timer_;
  std::unique_ptr<net::ConnectionLimit> connection_limit_;  // finite
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<xds::Configuration> configuration_;
  xds::UpstreamTransportFactory* transports_ = nullptr;  // configuration_ owns it
  std::unique_ptr<admin::Admin> admin_;
  bool live_ = false;
  bool draining_ = false;
  Heap heap_;
  enum class Drained : uint8_t { kNone, kInbound, kAll } drained_ = Drained::kNone;  // gracefully, by the admin
  bool health_failed_ = false;
  int exit_code_ = 0;
};

}  // namespace pinnace
