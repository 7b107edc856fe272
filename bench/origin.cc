// origin: the HTTP/1.1 server behind every proxy of the bench.
//
// Answers each request with 200 and the same prepared body, on kept-alive and
// pipelined connections; reads request bodies by content-length. The answer
// is sent from one shared buffer, so that the origin takes as little as it
// can of the cores that proxy and client share.
// THREAD: --threads loops, each with its own SO_REUSEPORT listener; nothing is
// shared but the answer. ERRORS: HEAD, chunked and broken heads close.

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

constexpr std::size_t kScratchSize = 64 * 1024;
constexpr std::size_t kMaxHead = 256 * 1024;
constexpr std::size_t kGather = 16;
constexpr int kBacklog = 4096;
constexpr int kEvents = 256;

struct Options {
  int port = 0;
  std::size_t size = 1024;
  int threads = 1;
};

struct Head {
  std::uint64_t body_size = 0;
  bool close = false;
};

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

bool same_name(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// Reads the lines of a complete head. Nothing: a head we do not serve.
std::optional<Head> parse_head(std::string_view text) {
  Head head;
  std::size_t line_end = text.find("\r\n");
  std::string_view line = text.substr(0, line_end);
  if (line.starts_with("HEAD ") || !line.ends_with(" HTTP/1.1")) return {};
  while (line_end + 2 < text.size()) {
    std::size_t begin = line_end + 2;
    line_end = text.find("\r\n", begin);
    line = text.substr(begin, line_end - begin);
    if (line.empty()) break;
    std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return {};
    std::string_view name = line.substr(0, colon);
    if (same_name(name, "content-length")) {
      std::string_view value = trim(line.substr(colon + 1));
      const char* end = value.data() + value.size();
      auto result = std::from_chars(value.data(), end, head.body_size);
      if (result.ec != std::errc() || result.ptr != end) return {};
    } else if (same_name(name, "transfer-encoding")) {
      return {};
    } else if (same_name(name, "connection")) {
      head.close = same_name(trim(line.substr(colon + 1)), "close");
    }
  }
  return head;
}

class Connection {
 public:
  Connection(int fd, std::string_view answer) : fd_(fd), answer_(answer) {}
  ~Connection() { close(fd_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Takes one edge: reads all there is, answers all it can.
  // Returns false when the connection is over.
  bool on_event(std::vector<char>& scratch) {
    if (!flush()) return false;
    for (;;) {
      ssize_t got = recv(fd_, scratch.data(), scratch.size(), 0);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return errno == EAGAIN;
      if (got == 0) return false;
      auto size = static_cast<std::size_t>(got);
      if (!feed({scratch.data(), size}) || !flush()) return false;
      // A short read has drained the socket (EPOLLRDHUP tells of a FIN).
      if (size < scratch.size()) return true;
    }
  }

 private:
  bool feed(std::string_view data) {
    std::string joined;
    if (!partial_.empty()) {
      joined = std::move(partial_);
      partial_.clear();
      joined += data;
      data = joined;
    }
    while (!data.empty()) {
      if (body_left_ > 0) {
        std::size_t taken = std::min<std::uint64_t>(body_left_, data.size());
        data.remove_prefix(taken);
        body_left_ -= taken;
        if (body_left_ == 0) ++owed_;
        continue;
      }
      std::size_t end = data.find("\r\n\r\n");
      if (end == std::string_view::npos) {
        partial_ = data;
        return partial_.size() <= kMaxHead;
      }
      std::optional<Head> head = parse_head(data.substr(0, end + 4));
      if (!head) return false;
      data.remove_prefix(end + 4);
      body_left_ = head->body_size;
      closing_ = closing_ || head->close;
      if (body_left_ == 0) ++owed_;
    }
    return true;
  }

  // Sends the answers that are owed. Returns false when the connection is over.
  bool flush() {
    while (owed_ > 0) {
      std::array<iovec, kGather> pieces;
      std::size_t count = std::min<std::uint64_t>(owed_, kGather);
      for (std::size_t i = 0; i < count; ++i) {
        pieces[i].iov_base = const_cast<char*>(answer_.data());
        pieces[i].iov_len = answer_.size();
      }
      pieces[0].iov_base = const_cast<char*>(answer_.data()) + sent_;
      pieces[0].iov_len = answer_.size() - sent_;
      msghdr message{};
      message.msg_iov = pieces.data();
      message.msg_iovlen = count;
      ssize_t sent = sendmsg(fd_, &message, MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0) return errno == EAGAIN;
      sent_ += static_cast<std::size_t>(sent);
      owed_ -= sent_ / answer_.size();
      sent_ %= answer_.size();
    }
    return !closing_ || body_left_ > 0;
  }

  int fd_;
  std::string_view answer_;      // head and body of the one answer there is
  std::string partial_;          // a head that has not come whole
  std::uint64_t body_left_ = 0;  // of the request being read
  std::uint64_t owed_ = 0;       // answers not sent whole
  std::size_t sent_ = 0;         // bytes sent of the first of them
  bool closing_ = false;         // the request said connection: close
};

int listen_on(int port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    die("bind");
  }
  if (listen(fd, kBacklog) != 0) die("listen");
  return fd;
}

void watch(int epoll_fd, int fd, void* data, std::uint32_t events) {
  epoll_event event{};
  event.events = events | EPOLLET;
  event.data.ptr = data;
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl");
}

void accept_all(int epoll_fd, int listen_fd, std::string_view answer) {
  for (;;) {
    int fd = accept4(listen_fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;  // drained; on EMFILE the next edge tries again
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    auto* connection = new Connection(fd, answer);
    watch(epoll_fd, fd, connection, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
  }
}

void serve(int listen_fd, std::string_view answer) {
  int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) die("epoll_create1");
  watch(epoll_fd, listen_fd, nullptr, EPOLLIN);
  std::vector<char> scratch(kScratchSize);
  std::array<epoll_event, kEvents> events;
  for (;;) {
    int count = epoll_wait(epoll_fd, events.data(), kEvents, -1);
    if (count < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < count; ++i) {
      void* data = events[static_cast<std::size_t>(i)].data.ptr;
      if (data == nullptr) {
        accept_all(epoll_fd, listen_fd, answer);
        continue;
      }
      // One event per descriptor and batch, so none behind it names it again.
      auto* connection = static_cast<Connection*>(data);
      if (!connection->on_event(scratch)) delete connection;
    }
  }
}

std::optional<Options> parse_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    std::string_view name = argv[i];
    long value = std::atol(argv[i + 1]);
    if (value <= 0) return {};
    if (name == "--port") {
      options.port = static_cast<int>(value);
    } else if (name == "--size") {
      options.size = static_cast<std::size_t>(value);
    } else if (name == "--threads") {
      options.threads = static_cast<int>(value);
    } else {
      return {};
    }
  }
  if (argc % 2 == 0 || options.port == 0) return {};
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  std::optional<Options> options = parse_options(argc, argv);
  if (!options) {
    std::fprintf(stderr, "usage: bench_origin --port P [--size S] [--threads N]\n");
    return 1;
  }
  std::string answer = "HTTP/1.1 200 OK\r\ncontent-length: " + std::to_string(options->size) + "\r\n\r\n" +
                       std::string(options->size, 'x');
  std::vector<std::jthread> threads;
  for (int i = 0; i < options->threads; ++i) {
    int listen_fd = listen_on(options->port);
    threads.emplace_back(serve, listen_fd, std::string_view(answer));
  }
}
