#include "xds_client/stream.h"

#include <algorithm>
#include <random>

#include "proxy/base/log.h"

namespace pinnace::xds {

XdsStream::XdsStream(boost::asio::io_context& control, TransportFactory& transports, Settings settings,
                     envoy::config::core::v3::Node node, std::function<void(Batch)> on_batch)
    : control_(control),
      transports_(transports),
      settings_(std::move(settings)),
      subscription_(settings_.delta, std::move(node)),
      on_batch_(std::move(on_batch)),
      timer_(control),
      rng_(std::random_device{}()) {}

void XdsStream::connect() {
  responded_ = false;
  transport_ = transports_.open(
      settings_.cluster, settings_.method,
      {[this](std::string message) { on_message(message); }, [this](const std::string& why) { on_closed(why); }});
  subscription_.stream_opened();
  flush();
}

void XdsStream::flush() {
  for (auto& message : subscription_.take_outgoing()) {
    if (transport_) transport_->send(std::move(message));
  }
}

void XdsStream::on_message(const std::string& message) {
  if (!std::exchange(responded_, true)) {
    if (failures_ > 0) PN_LOG(kInfo, "xds", "{}: connected again", settings_.label);
    failures_ = 0;
    if (changed_) changed_(true);
  }
  auto batch = subscription_.receive(message);
  if (!batch) {
    PN_LOG(kWarning, "xds", "{}: ignored {}", settings_.label, batch.error().message);
    return;
  }
  batch->origin = settings_.id;
  on_batch_(std::move(*batch));
}

void XdsStream::on_closed(const std::string& why) {
  transport_.reset();
  if (responded_ && changed_) changed_(false);
  subscription_.stream_closed();
  // Full jitter over an exponential ceiling: proxies that lost the same control plane do not come back in step.
  uint64_t ceiling = std::min<uint64_t>(30000, uint64_t{500} << std::min(failures_, 6u));
  uint64_t delay = 50 + rng_.below(ceiling);
  auto level = failures_ == 0 ? base::LogLevel::kWarning : base::LogLevel::kInfo;
  if (base::Log::enabled(level)) {
    base::Log::write(level, "xds",
                     fmt::format("{}: stream closed: {}; the configuration in force stays; trying again in {} ms",
                                 settings_.label, why, delay));
  }
  failures_++;
  timer_.expires_after(std::chrono::milliseconds(delay));
  // A wait that is over but not yet told cannot be cancelled: it may come after our end.
  timer_.async_wait([this, alive = std::weak_ptr<const bool>(alive_)](boost::system::error_code failed) {
    if (!failed && !alive.expired()) connect();
  });
}

}  // namespace pinnace::xds
