// Logger: one configured access log: which entries it takes, and what it does with them. Immutable; what a worker has
// open for it is in the worker's outputs. envoy.config.accesslog.v3.AccessLog. THREAD: any worker.
#pragma once

#include <memory>
#include <variant>
#include <vector>

#include "proxy/access_log/entry_filter.h"
#include "proxy/access_log/json_format.h"
#include "proxy/access_log/sink.h"

namespace pinnace::upstream {
class ClusterTable;
}

namespace pinnace::access_log {

// What a worker keeps open for a logger that writes to no file: a stream to a service.
class Service {
 public:
  virtual ~Service() = default;
};

// Where a worker's entries go. LIFETIME: the worker's.
struct Outputs {
  Buffers files;
  upstream::ClusterTable& clusters;
  std::vector<std::unique_ptr<Service>> services = {};  // by Ids::log_services
};

using EntryFilterPtr = std::shared_ptr<const EntryFilter>;

class Logger {
 public:
  // `filter`: nullptr for all entries.
  explicit Logger(EntryFilterPtr filter) : filter_(std::move(filter)) {}
  virtual ~Logger() = default;

  void log(const Entry& entry, Outputs& outputs) const {
    if (!filter_ || filter_->takes(entry)) write(entry, outputs);
  }

 private:
  virtual void write(const Entry& entry, Outputs& outputs) const = 0;

  EntryFilterPtr filter_;
};

using Loggers = std::vector<std::shared_ptr<const Logger>>;

// A line of text for a file.
class FileLogger final : public Logger {
 public:
  using Line = std::variant<Format, JsonFormat>;

  FileLogger(EntryFilterPtr filter, std::shared_ptr<Sink> sink, Line line)
      : Logger(std::move(filter)), sink_(std::move(sink)), line_(std::move(line)) {}

 private:
  void write(const Entry& entry, Outputs& outputs) const override {
    std::visit([&](const auto& line) { line.render(entry, outputs.files.of(*sink_)); }, line_);
    outputs.files.appended(*sink_);
  }

  std::shared_ptr<Sink> sink_;
  Line line_;
};

}  // namespace pinnace::access_log
