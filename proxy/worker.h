// Worker: one thread with its event loop, its pools, its listeners. Shares nothing mutable with other workers but what
// finite circuit breakers and a finite connection limit need. THREAD: everything but post(), apply() and the
// constructor runs on its own thread.
#pragma once

#include <memory>
#include <thread>

#include "proxy/listener/listener_set.h"
#include "proxy/stats/store.h"

namespace pinnace {

class Worker {
 public:
  struct Options {
    size_t index = 0;
    uint64_t drain_time_ms = 600 * 1000;
    uint64_t log_flush_ms = 1000;
    net::ConnectionLimit* connection_limit = nullptr;
    std::function<void(size_t worker, std::function<void(listener::ListenerSet&)>)> post_to;
  };

  Worker(stats::Store& store, access_log::SinkThread& sinks, Options options);
  ~Worker();

  void start();
  // Ends the thread after its turn; sessions are closed.
  void stop();
  void post(std::function<void(Worker&)> work);
  void apply(std::shared_ptr<const model::Update> update);

  listener::ListenerSet& listeners() { return *listeners_; }
  upstream::ClusterTable& clusters() { return clusters_; }

 private:
  void take_over(const model::Update& update);

  base::EventLoop loop_;
  tls::ContextTable tls_;
  upstream::ClusterTable clusters_;
  access_log::Outputs logs_;
  filter::RouteTable routes_;
  filter::ExtensionTable extensions_;
  filter::WorkerContext context_;
  std::unique_ptr<listener::ListenerSet> listeners_;
  base::Timer flush_timer_;
  uint64_t flush_ms_;
  std::thread thread_;
};

}  // namespace pinnace
