// GrpcLogger: access-log entries for a service, in batches over a stream of each worker's own.
// envoy.service.accesslog.v3.AccessLogService. What the service does not take in time is dropped and counted
// (access_logs.grpc_access_log.logs_dropped); a request never waits for it. THREAD, LIFETIME: see access_log::Logger.
#pragma once

#include "filters/access_loggers/grpc/entry.h"
#include "proxy/access_log/logger.h"
#include "proxy/stats/store.h"

namespace pinnace::filters::grpc_access_log {

struct Settings {
  uint32_t cluster_id = 0;
  std::string identifier;  // StreamAccessLogsMessage.Identifier, serialized
  uint64_t flush_interval_ms = 1000;
  uint64_t batch_bytes = 16384;
  bool tcp = false;
  AdditionalHeaders additional;
  stats::Counter written, dropped;
};

class GrpcLogger final : public access_log::Logger {
 public:
  // `service`: which of a worker's services; loggers with the same settings share it.
  GrpcLogger(access_log::EntryFilterPtr filter, uint32_t service, std::shared_ptr<const Settings> settings)
      : Logger(std::move(filter)), service_(service), settings_(std::move(settings)) {}

 private:
  void write(const access_log::Entry& entry, access_log::Outputs& outputs) const override;

  uint32_t service_;
  std::shared_ptr<const Settings> settings_;
};

}  // namespace pinnace::filters::grpc_access_log
