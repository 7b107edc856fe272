#include "filters/access_loggers/grpc/logger.h"

#include "envoy/service/accesslog/v3/als.pb.h"
#include "proxy/base/log.h"
#include "proxy/upstream/cluster.h"
#include "proxy/upstream/grpc_call.h"

namespace pinnace::filters::grpc_access_log {
namespace {

using Message = envoy::service::accesslog::v3::StreamAccessLogsMessage;

constexpr uint64_t kIdleMs = 30 * 1000;
constexpr size_t kMaxUnsent = size_t{1} << 20;  // bytes that wait for the service; ENVOY: a connection's buffer

// One worker's stream to a service. THREAD: the worker's.
class Batcher final : public access_log::Service, private upstream::GrpcCall::Events {
 public:
  Batcher(const std::shared_ptr<const Settings>& settings, upstream::ClusterTable& clusters)
      : configured_(settings), clusters_(clusters), loop_(clusters.loop()) {
    timer_.init(
        loop_.timers(), [](void* self) { static_cast<Batcher*>(self)->flush(); }, this);
    idle_timer_.init(
        loop_.timers(), [](void* self) { static_cast<Batcher*>(self)->on_idle(); }, this);
  }
  ~Batcher() override {
    flush();
    if (call_) upstream::GrpcCall::end(*call_);
  }

  Message& batch() { return batch_; }
  void added(size_t bytes, const std::shared_ptr<const Settings>& settings) {
    if (!settings_) settings_ = settings;
    entries_++;
    bytes_ += bytes;
    if (bytes_ >= settings_->batch_bytes) flush();
    else if (!timer_.armed()) timer_.arm(settings_->flush_interval_ms);
  }

 private:
  void flush() {
    timer_.cancel();
    if (entries_ == 0) return;
    connect();
    if (call_ && call_->unsent() < kMaxUnsent) {
      if (!std::exchange(identified_, true)) batch_.mutable_identifier()->ParseFromString(settings_->identifier);
      call_->send(batch_.SerializeAsString());
      loop_.cells().add(settings_->written, entries_);
    } else {
      loop_.cells().add(settings_->dropped, entries_);
    }
    batch_.Clear();
    entries_ = bytes_ = 0;
    settings_ = nullptr;
    if (!idle_timer_.armed()) idle_timer_.arm(kIdleMs);
  }

  // No logger is configured so any more: the stream has no more to say.
  void on_idle() {
    if (!configured_.expired() || settings_) return idle_timer_.arm(kIdleMs);
    if (auto* call = std::exchange(call_, nullptr)) upstream::GrpcCall::end(*call);
  }

  void connect() {
    if (call_) return;
    upstream::Cluster* cluster = clusters_.find(settings_->cluster_id);
    if (!cluster) return;
    identified_ = false;
    closed_ = false;
    auto& call =
        upstream::GrpcCall::start(*cluster, "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs", *this);
    if (closed_) upstream::GrpcCall::end(call);
    else call_ = &call;
  }

  void on_message(std::string) override {}  // the service says nothing until it ends
  void on_closed(int status, std::string why) override {
    PN_LOG(kDebug, "access_log", "the stream to the access-log service ended: {} (gRPC status {})", why, status);
    closed_ = true;
    if (auto* call = std::exchange(call_, nullptr)) upstream::GrpcCall::end(*call);
  }

  std::shared_ptr<const Settings> settings_;  // while there are entries
  std::weak_ptr<const Settings> configured_;
  upstream::ClusterTable& clusters_;
  base::EventLoop& loop_;
  base::Timer timer_, idle_timer_;
  upstream::GrpcCall* call_ = nullptr;
  bool identified_ = false;  // on this stream
  bool closed_ = false;
  Message batch_;
  uint64_t entries_ = 0;
  size_t bytes_ = 0;
};

}  // namespace

void GrpcLogger::write(const access_log::Entry& entry, access_log::Outputs& outputs) const {
  if (service_ >= outputs.services.size()) outputs.services.resize(service_ + 1);
  auto& slot = outputs.services[service_];
  if (!slot) slot = std::make_unique<Batcher>(settings_, outputs.clusters);
  auto& batcher = static_cast<Batcher&>(*slot);
  size_t bytes = 0;
  if (settings_->tcp) {
    auto* to = batcher.batch().mutable_tcp_logs()->add_log_entry();
    fill(entry, *to);
    bytes = to->ByteSizeLong();
  } else {
    auto* to = batcher.batch().mutable_http_logs()->add_log_entry();
    fill(entry, settings_->additional, *to);
    bytes = to->ByteSizeLong();
  }
  batcher.added(bytes, settings_);
}

}  // namespace pinnace::filters::grpc_access_log
