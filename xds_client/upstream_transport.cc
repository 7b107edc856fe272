#include "xds_client/upstream_transport.h"

#include <pthread.h>

#include <boost/asio/post.hpp>
#include <random>

#include "proxy/upstream/grpc_call.h"

namespace pinnace::xds {

// One stream, seen from both threads.
class UpstreamTransportFactory::Line final : public upstream::GrpcCall::Events,
                                             public std::enable_shared_from_this<Line> {
 public:
  Line(boost::asio::io_context& control, Transport::Events events) : control_(control), events_(std::move(events)) {}

  // On the loop.
  void start(upstream::Cluster& cluster, const std::string& method) {
    call_ = &upstream::GrpcCall::start(cluster, method, *this);
    if (over_) end();
  }
  void send(const std::string& message) {
    if (call_) call_->send(message);
  }
  void end() {
    over_ = true;
    if (auto* call = std::exchange(call_, nullptr)) upstream::GrpcCall::end(*call);
  }
  void on_message(std::string message) override {
    boost::asio::post(control_, [line = shared_from_this(), message = std::move(message)]() mutable {
      if (line->events_.on_message) line->events_.on_message(std::move(message));
    });
  }
  void on_closed(int status, std::string why) override {
    if (status == 0) why = "closed by the control plane";
    else why += " (gRPC status " + std::to_string(status) + ")";
    boost::asio::post(control_, [line = shared_from_this(), why = std::move(why)] {
      auto closed = line->events_.on_closed;  // it may let the line go
      if (closed) closed(why);
    });
    over_ = true;
  }

  // On the control thread: its owner hears nothing more.
  void forget() { events_ = {}; }

 private:
  boost::asio::io_context& control_;
  Transport::Events events_;  // the control thread's
  upstream::GrpcCall* call_ = nullptr;
  bool over_ = false;
};

// The control thread's end of a line.
class UpstreamTransportFactory::LineTransport final : public Transport {
 public:
  LineTransport(UpstreamTransportFactory& factory, std::shared_ptr<Line> line)
      : factory_(factory), line_(std::move(line)) {}
  ~LineTransport() override {
    line_->forget();
    factory_.loop_.post([&factory = factory_, line = line_] {
      line->end();
      factory.lines_.erase(line);
    });
  }
  void send(std::string message) override {
    factory_.loop_.post([line = line_, message = std::move(message)] { line->send(message); });
  }

 private:
  UpstreamTransportFactory& factory_;
  std::shared_ptr<Line> line_;
};

UpstreamTransportFactory::UpstreamTransportFactory(boost::asio::io_context& control, stats::Store& store)
    : control_(control),
      loop_(store.add_thread(), (uint64_t{std::random_device{}()} << 32) | std::random_device{}()),
      clusters_(loop_, tls_),
      thread_([this] {
        pthread_setname_np(pthread_self(), "xds");
        loop_.update_time();
        loop_.run();
        for (const auto& line : lines_) line->end();
        clusters_.clear();
      }) {}

UpstreamTransportFactory::~UpstreamTransportFactory() {
  loop_.stop();
  thread_.join();
}

void UpstreamTransportFactory::apply(std::shared_ptr<const model::Update> update) {
  auto ours = std::make_shared<model::Update>();
  ours->tls = update->tls;
  for (const auto& cluster : update->clusters) {
    Known& known = known_[cluster->id];
    known.config = cluster;
    ids_[cluster->name] = cluster->id;
    if (known.used) ours->clusters.push_back(cluster);
  }
  for (const auto& change : update->endpoints) {
    Known& known = known_[change.cluster_id];
    known.endpoints = change.endpoints;
    if (known.used) ours->endpoints.push_back(change);
  }
  for (uint32_t id : update->removed_clusters) {
    auto found = known_.find(id);
    if (found == known_.end()) continue;
    if (found->second.used) ours->removed_clusters.push_back(id);
    if (found->second.config) ids_.erase(found->second.config->name);
    known_.erase(found);
  }
  if (!ours->empty()) loop_.post([this, ours] { take_over(*ours); });
}

void UpstreamTransportFactory::take_over(const model::Update& update) {
  for (const auto& change : update.tls) tls_.set(change.id, change.context);
  for (const auto& cluster : update.clusters) clusters_.set(cluster);
  for (const auto& change : update.endpoints) clusters_.set_endpoints(change.cluster_id, change.endpoints);
  for (uint32_t id : update.removed_clusters) clusters_.remove(id);
}

std::unique_ptr<Transport> UpstreamTransportFactory::open(const std::string& cluster, const std::string& method,
                                                          Transport::Events events) {
  uint32_t id = model::kNoId;
  if (auto found = ids_.find(cluster); found != ids_.end()) {
    id = found->second;
    Known& known = known_[id];
    if (!std::exchange(known.used, true)) {
      auto first = std::make_shared<model::Update>();
      first->clusters.push_back(known.config);
      if (known.endpoints) first->endpoints.push_back({id, known.endpoints});
      loop_.post([this, first] { take_over(*first); });
    }
  }
  auto line = std::make_shared<Line>(control_, std::move(events));
  loop_.post([this, line, cluster, id, method] {
    lines_.insert(line);
    upstream::Cluster* to = id == model::kNoId ? nullptr : clusters_.find(id);
    if (!to) return line->on_closed(upstream::GrpcCall::kUnavailable, "cluster " + cluster + " is not there");
    line->start(*to, method);
  });
  return std::make_unique<LineTransport>(*this, std::move(line));
}

}  // namespace pinnace::xds
