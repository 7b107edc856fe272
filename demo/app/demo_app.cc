// pinnace-demo-app: the application of every service in the demo mesh. It knows nothing of proxies; what it says of a
// request is what reached it.
#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdio>
#include <map>
#include <optional>

#include "demo/app/identity.h"
#include "demo/app/listeners.h"
#include "demo/app/session.h"

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using pinnace::demo::Identity;
using pinnace::demo::TcpMode;

struct Options {
  Identity self;
  std::optional<unsigned short> port, tls_port, tcp_port;
  std::string tls_cert, tls_key;
  TcpMode tcp_mode = TcpMode::kGreet;
};

void declare(CLI::App& cli, Options& options) {
  const std::map<std::string, TcpMode> modes{{"greet", TcpMode::kGreet}, {"echo", TcpMode::kEcho}};
  cli.add_option("--name", options.self.name, "the service it belongs to")->capture_default_str();
  cli.add_option("--version", options.self.version, "which version of it")->capture_default_str();
  cli.add_option("--port", options.port, "HTTP/1.1 (0: any free port)");
  CLI::Option* cert = cli.add_option("--tls-cert", options.tls_cert, "PEM chain")->check(CLI::ExistingFile);
  CLI::Option* key = cli.add_option("--tls-key", options.tls_key, "PEM key")->check(CLI::ExistingFile);
  cli.add_option("--tls-port", options.tls_port, "HTTP/1.1 over TLS")->needs(cert)->needs(key);
  cli.add_option("--tcp-port", options.tcp_port, "a TCP service");
  cli.add_option("--tcp-mode", options.tcp_mode, "greet: speaks first, then echoes; echo: only echoes")
      ->transform(CLI::CheckedTransformer(modes));
}

void announce(const char* what, unsigned short port) { std::printf(" %s %u", what, static_cast<unsigned>(port)); }

void run(const Options& options) {
  asio::io_context loop(1);
  std::optional<asio::ssl::context> tls;
  const Identity& self = options.self;

  // Printed once all listen: whoever started this with port 0 reads the ports here.
  std::string line = self.name + " " + self.version + ":";
  std::printf("%s", line.c_str());
  if (options.port)
    announce("http", pinnace::demo::listen(loop, *options.port, [&](tcp::socket socket) {
               return pinnace::demo::serve_http(std::move(socket), self);
             }));
  if (options.tls_port) {
    tls.emplace(pinnace::demo::make_server_tls(options.tls_cert, options.tls_key));
    announce("https", pinnace::demo::listen(loop, *options.tls_port, [&](tcp::socket socket) {
               return pinnace::demo::serve_https(std::move(socket), self, *tls);
             }));
  }
  if (options.tcp_port)
    announce("tcp", pinnace::demo::listen(loop, *options.tcp_port, [&](tcp::socket socket) {
               return pinnace::demo::serve_tcp(std::move(socket), self, options.tcp_mode);
             }));
  std::printf("\n");
  std::fflush(stdout);

  asio::signal_set signals(loop, SIGINT, SIGTERM);
  signals.async_wait([&](const boost::system::error_code&, int) { loop.stop(); });
  loop.run();
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  Options options;
  CLI::App cli{"An HTTP and TCP application that shows what reached it", "pinnace-demo-app"};
  declare(cli, options);
  CLI11_PARSE(cli, argc, argv);
  if (!options.port && !options.tls_port && !options.tcp_port) options.port = 9080;
  try {
    run(options);
  } catch (const std::exception& error) {
    std::fflush(stdout);
    std::fprintf(stderr, "\npinnace-demo-app: %s\n", error.what());
    return 1;
  }
  return 0;
}
