#include "proxy/admin/admin.h"

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include "proxy/base/log.h"

namespace pinnace::admin {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

std::string_view state_name(State state) {
  static constexpr std::string_view kNames[] = {"LIVE", "DRAINING", "PRE_INITIALIZING", "INITIALIZING"};
  return kNames[static_cast<size_t>(state)];
}

namespace {

std::string decode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); i++) {
    unsigned value = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        sscanf(std::string(text.substr(i + 1, 2)).c_str(), "%2x", &value) == 1) {
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

Reply ready_page(Host& host, const Query&) {
  State state = host.state();
  return {state == State::kLive ? 200u : 503u, std::string(state_name(state)) + "\n"};
}

Reply drain_page(Host& host, const Query& query) {
  if (query.has("skip_exit") && !query.has("graceful")) return {400, "skip_exit requires graceful\n"};
  host.drain_listeners(query.has("inboundonly"), query.has("graceful"), query.has("skip_exit"));
  return {200, "OK\n"};
}

Reply quit_page(Host& host, const Query&) {
  host.quit();
  return {200, "OK\n"};
}

Reply fail_page(Host& host, const Query&) {
  host.set_health_failed(true);
  return {200, "OK\n"};
}

Reply ok_page(Host& host, const Query&) {
  host.set_health_failed(false);
  return {200, "OK\n"};
}

struct Page {
  const char* path;
  const char* help;
  bool changes;  // needs POST
  Reply (*handle)(Host&, const Query&);
};

constexpr Page kPages[] = {
    {"/certs", "print certs on machine", false, [](Host& h, const Query&) { return certs_page(h); }},
    {"/clusters", "upstream cluster status", false, nullptr},
    {"/config_dump", "dump current configuration (resource=, mask=, name_regex=, include_eds)", false, config_dump},
    {"/drain_listeners", "drain listeners (graceful, inboundonly, skip_exit)", true, drain_page},
    {"/healthcheck/fail", "cause the server to fail health checks", true, fail_page},
    {"/healthcheck/ok", "cause the server to pass health checks", true, ok_page},
    {"/listeners", "print listener info (format=json)", false, listeners_page},
    {"/logging", "query or change logging levels (level=, NAME=, paths=)", true,
     [](Host&, const Query& q) { return logging_page(q); }},
    {"/memory", "print current allocation/heap usage", false, [](Host&, const Query&) { return memory_page(); }},
    {"/quitquitquit", "exit the server", true, quit_page},
    {"/ready", "print server state, 200 when LIVE, otherwise 503", false, ready_page},
    {"/reset_counters", "reset all counters to zero", true, [](Host& h, const Query&) { return reset_page(h); }},
    {"/runtime", "print runtime values", false, [](Host& h, const Query&) { return runtime_page(h); }},
    {"/server_info", "print server version and status", false,
     [](Host& h, const Query&) { return server_info_page(h); }},
    {"/stats", "print server stats (usedonly, filter=, format=json|prometheus)", false, stats_page},
    {"/stats/prometheus", "print server stats in prometheus format (usedonly, filter=)", false, prometheus_page},
};

std::string help() {
  std::string out = "admin commands are:\n";
  for (const auto& page : kPages)
    out += "  " + std::string(page.path) + (page.changes ? " (POST)" : "") + ": " + page.help + "\n";
  return out;
}

}  // namespace

Query::Query(std::string_view text) {
  while (!text.empty()) {
    size_t amp = text.find('&');
    std::string_view pair = text.substr(0, amp);
    text = amp == std::string_view::npos ? std::string_view() : text.substr(amp + 1);
    size_t equals = pair.find('=');
    if (pair.empty()) continue;
    values_[decode(pair.substr(0, equals))] =
        equals == std::string_view::npos ? std::string() : decode(pair.substr(equals + 1));
  }
}

void Admin::handle(std::string_view method, std::string_view target, std::function<void(Reply)> done) {
  size_t question = target.find('?');
  std::string path(target.substr(0, question));
  Query query(question == std::string_view::npos ? std::string_view() : target.substr(question + 1));
  if (path == "/help") return done({200, help()});
  for (const auto& page : kPages) {
    if (path != page.path) continue;
    if (page.changes && method != "POST") {
      return done({405, "Method " + std::string(method) + " not allowed, POST required."});
    }
    if (page.handle) return done(page.handle(host_, query));
    return host_.gather_hosts(
        [this, query, done = std::move(done)](const HostStatsMap& stats) { done(clusters_page(host_, query, stats)); });
  }
  done({404, "invalid path. " + help()});
}

// One connection after another on the control thread; small, so simple: read a request, write the answer, again.
class Admin::HttpServer : public std::enable_shared_from_this<Admin::HttpServer> {
 public:
  using Acceptor = asio::basic_socket_acceptor<asio::generic::stream_protocol>;
  using Socket = asio::generic::stream_protocol::socket;

  HttpServer(asio::io_context& control, Admin& admin, int fd, int family)
      : control_(control),
        admin_(admin),
        acceptor_(control, asio::generic::stream_protocol(family, 0), fd),
        pause_(control) {}
  void accept() {
    acceptor_.async_accept([self = shared_from_this()](boost::system::error_code failed, Socket socket) {
      if (failed == asio::error::operation_aborted) return;
      if (failed && failed != asio::error::connection_aborted) return self->pause(failed);
      if (!failed && self->open_ < kMaxConnections) std::make_shared<Connection>(self, std::move(socket))->read();
      self->accept();
    });
  }
  void close() {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel();
  }

 private:
  static constexpr size_t kMaxConnections = 128;

  // EMFILE and the like: leave the socket alone for a while instead of spinning on it.
  void pause(const boost::system::error_code& why) {
    PN_LOG(kError, "admin", "cannot accept: {} (raise ulimit -n); trying again in 100 ms", why.message());
    pause_.expires_after(std::chrono::milliseconds(100));
    pause_.async_wait([self = shared_from_this()](boost::system::error_code failed) {
      if (!failed && self->acceptor_.is_open()) self->accept();
    });
  }

  struct Connection : std::enable_shared_from_this<Connection> {
    Connection(std::shared_ptr<HttpServer> s, Socket socket) : server(std::move(s)), stream(std::move(socket)) {
      server->open_++;
    }
    ~Connection() { server->open_--; }

    void read() {
      parser.emplace();
      parser->header_limit(32 * 1024);
      parser->body_limit(64 * 1024);
      stream.expires_after(std::chrono::seconds(300));
      http::async_read(stream, buffer, *parser, [self = shared_from_this()](boost::system::error_code failed, size_t) {
        if (failed) return;
        const auto& request = self->parser->get();
        std::string method(request.method_string());
        self->keep_alive = request.keep_alive();
        self->head_only = request.method() == http::verb::head;
        self->server->admin_.handle(method, std::string_view(request.target().data(), request.target().size()),
                                    [self](Reply reply) { self->write(std::move(reply)); });
      });
    }
    void write(Reply reply) {
      response = {};
      response.version(11);
      response.result(reply.status);
      response.set(http::field::content_type, reply.content_type);
      response.set(http::field::cache_control, "no-cache, max-age=0");
      response.set("x-content-type-options", "nosniff");
      response.set(http::field::server, "envoy");
      response.keep_alive(keep_alive);
      size_t size = reply.body.size();
      if (!head_only) response.body() = std::move(reply.body);
      response.content_length(size);
      http::async_write(stream, response, [self = shared_from_this()](boost::system::error_code failed, size_t) {
        if (failed || !self->keep_alive) {
          boost::system::error_code ignored;
          self->stream.socket().shutdown(Socket::shutdown_send, ignored);
          return;
        }
        self->read();
      });
    }

    std::shared_ptr<HttpServer> server;
    beast::basic_stream<asio::generic::stream_protocol> stream;
    beast::flat_buffer buffer;
    std::optional<http::request_parser<http::string_body>> parser;
    http::response<http::string_body> response;
    bool keep_alive = false, head_only = false;
  };

  asio::io_context& control_;
  Admin& admin_;
  Acceptor acceptor_;
  asio::steady_timer pause_;
  size_t open_ = 0;
};

Admin::Admin(asio::io_context& control, Host& host) : control_(control), host_(host) {}

Admin::~Admin() {
  if (server_) server_->close();
}

Result<bool> Admin::listen(const base::Address& address) {
  constexpr int kBacklog = 128;
  net::ListenOptions options;
  options.reuse_port = false;
  auto fd = net::bind_listener(address, options);
  if (!fd) return fd.error();
  net::start_listening(*fd, kBacklog);
  server_ = std::make_shared<HttpServer>(control_, *this, *fd, address.family());
  server_->accept();
  return true;
}

}  // namespace pinnace::admin
