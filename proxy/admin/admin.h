// Admin: the HTTP interface for people and tools at the bootstrap's admin address, in Envoy's formats.
// One function per page, listed in the table in admin.cc. THREAD: control.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "proxy/base/address.h"
#include "proxy/stats/store.h"
#include "xds_client/bootstrap.h"
#include "xds_client/configuration.h"

namespace pinnace::admin {

enum class State : uint8_t { kLive = 0, kDraining = 1, kPreInitializing = 2, kInitializing = 3 };
std::string_view state_name(State state);

struct HostStats {
  uint64_t cx_active = 0, cx_total = 0, cx_connect_fail = 0, rq_active = 0, rq_total = 0, rq_success = 0, rq_error = 0;
  void add(const HostStats& o) {
    cx_active += o.cx_active;
    cx_total += o.cx_total;
    cx_connect_fail += o.cx_connect_fail;
    rq_active += o.rq_active;
    rq_total += o.rq_total;
    rq_success += o.rq_success;
    rq_error += o.rq_error;
  }
};
using HostStatsMap = std::map<std::string, std::map<std::string, HostStats>>;  // cluster → host → stats

// What the process was started with.
struct CommandLine {
  std::string config_path, config_yaml;
  uint32_t concurrency = 0;  // 0: as many as there are cores
  uint64_t drain_time_s = 600;
  uint64_t flush_interval_ms = 1000;
  std::string log_level = "info", component_log_level;
  std::string local_ip_version = "v4";
  std::string service_node, service_cluster, service_zone;  // empty: those of the bootstrap's node
};

// What the pages need of the process.
class Host {
 public:
  virtual State state() const = 0;
  virtual const xds::Configuration& configuration() const = 0;
  virtual const xds::Bootstrap& bootstrap() const = 0;
  virtual stats::Store& stats() = 0;
  virtual uint64_t uptime_s() const = 0;
  virtual const CommandLine& command_line() const = 0;
  virtual int64_t started_s() const = 0;
  virtual void gather_hosts(std::function<void(HostStatsMap)> done) = 0;
  virtual void drain_listeners(bool inbound_only, bool graceful, bool skip_exit) = 0;
  virtual void set_health_failed(bool failed) = 0;
  virtual void quit() = 0;

 protected:
  ~Host() = default;
};

struct Reply {
  unsigned status = 200;
  std::string body;
  std::string content_type = "text/plain; charset=UTF-8";
};

// A request's query, decoded. Parameters may be bare.
class Query {
 public:
  explicit Query(std::string_view text);
  bool has(const std::string& name) const { return values_.contains(name); }
  std::string get(const std::string& name) const {
    auto found = values_.find(name);
    return found == values_.end() ? std::string() : found->second;
  }
  const std::map<std::string, std::string>& all() const { return values_; }

 private:
  std::map<std::string, std::string> values_;
};

class Admin {
 public:
  Admin(boost::asio::io_context& control, Host& host);
  ~Admin();
  Result<bool> listen(const base::Address& address);
  // Answers one request; `done` may come later.
  void handle(std::string_view method, std::string_view target, std::function<void(Reply)> done);

 private:
  class HttpServer;
  boost::asio::io_context& control_;
  Host& host_;
  std::shared_ptr<HttpServer> server_;
};

// The pages.
Reply config_dump(Host& host, const Query& query);
Reply stats_page(Host& host, const Query& query);
Reply prometheus_page(Host& host, const Query& query);
Reply clusters_page(Host& host, const Query& query, const HostStatsMap& stats);
Reply listeners_page(Host& host, const Query& query);
Reply certs_page(Host& host);
Reply server_info_page(Host& host);
Reply logging_page(const Query& query);
Reply memory_page();
Reply runtime_page(Host& host);
Reply reset_page(Host& host);

// A message as Envoy's admin prints it. Types that are not compiled in print as what they hold of themselves: their
// name.
std::string to_json(const google::protobuf::Message& message, bool whitespace, bool defaults = false);
// The same, with TLS private keys and other sensitive fields blacked out.
void redact(google::protobuf::Message& message);
std::string json_string(std::string_view text);

}  // namespace pinnace::admin
