// Logger: one configured access log: which entries (filter), in what form (format), to where (sink).
// envoy.config.accesslog.v3.AccessLog. Immutable. THREAD: any worker, with its own Buffers.
#pragma once

#include <memory>

#include "proxy/access_log/format.h"
#include "proxy/access_log/sink.h"

namespace pinnace::access_log {

class Logger {
 public:
  Logger(std::shared_ptr<Sink> sink, Format format, http::Flags only_flags, bool any_flag)
      : sink_(std::move(sink)), format_(std::move(format)), only_flags_(only_flags), any_flag_(any_flag) {}

  void log(const Entry& entry, Buffers& buffers) const {
    if (any_flag_ && entry.info.flags == 0) return;
    if (only_flags_ != 0 && (entry.info.flags & only_flags_) == 0) return;
    format_.render(entry, buffers.of(*sink_));
    buffers.appended(*sink_);
  }

 private:
  std::shared_ptr<Sink> sink_;
  Format format_;
  http::Flags only_flags_;  // response_flag_filter.flags; 0: all entries
  bool any_flag_;           // response_flag_filter without flags
};

using Loggers = std::vector<std::shared_ptr<const Logger>>;

}  // namespace pinnace::access_log
