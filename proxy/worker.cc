#include "proxy/worker.h"

#include <pthread.h>

#include <random>

namespace pinnace {

Worker::Worker(stats::Store& store, access_log::SinkThread& sinks, Options options)
    : loop_(store.add_thread(), (uint64_t{std::random_device{}()} << 32) | std::random_device{}()),
      clusters_(loop_, tls_),
      logs_{access_log::Buffers(sinks), clusters_},
      context_{loop_, clusters_, routes_, extensions_, tls_, logs_},
      flush_ms_(options.log_flush_ms) {
  listener::ListenerSetOptions set;
  set.worker = options.index;
  set.drain_time_ms = options.drain_time_ms;
  set.limit = options.connection_limit;
  set.post_to = std::move(options.post_to);
  listeners_ = std::make_unique<listener::ListenerSet>(context_, std::move(set));
  flush_timer_.init(
      loop_.timers(),
      [](void* self) {
        auto* worker = static_cast<Worker*>(self);
        worker->logs_.files.flush();
        worker->flush_timer_.arm(worker->flush_ms_);
      },
      this);
}

Worker::~Worker() { stop(); }

void Worker::start() {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "worker");
    loop_.update_time();
    flush_timer_.arm(flush_ms_);
    loop_.run();
    // Everything that belongs to this thread ends on it.
    listeners_->close_all();
    logs_.services.clear();
    clusters_.clear();
    logs_.files.flush();
  });
}

void Worker::stop() {
  if (!thread_.joinable()) return;
  loop_.stop();
  thread_.join();
}

void Worker::post(std::function<void(Worker&)> work) {
  loop_.post([this, work = std::move(work)] { work(*this); });
}

void Worker::apply(std::shared_ptr<const model::Update> update) {
  loop_.post([this, update = std::move(update)] { take_over(*update); });
}

void Worker::take_over(const model::Update& update) {
  for (const auto& change : update.tls) tls_.set(change.id, change.context);
  for (const auto& cluster : update.clusters) clusters_.set(cluster);
  for (const auto& change : update.endpoints) clusters_.set_endpoints(change.cluster_id, change.endpoints);
  for (const auto& change : update.routes) routes_.set(change.id, change.config);
  for (const auto& change : update.extensions) extensions_.set(change.id, change.config);
  for (const auto& name : update.removed_listeners) listeners_->remove(name);  // what comes may have their sockets
  for (const auto& change : update.listeners) listeners_->set(change);
  for (uint32_t id : update.removed_clusters) clusters_.remove(id);
}

}  // namespace pinnace
