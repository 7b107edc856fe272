// relay: a TCP relay that parses nothing, the floor of the bench.
//
// What a proxy costs above this program is what it does with HTTP; what this
// program costs is the kernel. So it makes the fewest calls that can be made:
// one read and one write per message and edge-triggered epoll, no timers.
// THREAD: one. LIFETIME: until a signal. ERRORS: a broken connection is
// closed on both sides; only a failed start ends the program (exit 1).

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr std::size_t kScratchSize = 64 * 1024;
constexpr int kBacklog = 4096;
constexpr int kEvents = 256;

struct Pair;

struct Side {
  int fd = -1;
  Pair* pair = nullptr;
  Side* other = nullptr;
  std::string unsent = {};    // read from `other`, refused by our socket
  bool readable = false;      // an edge came and the socket is not drained
  bool read_closed = false;   // the FIN was read
  bool write_closed = false;  // the FIN of `other` was passed on
};

struct Pair {
  Side client;
  Side upstream;
  bool dead = false;
};

std::array<char, kScratchSize> scratch;
std::vector<Pair*> dead_pairs;  // freed after the batch that may name them

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

void watch(int epoll_fd, int fd, void* data, std::uint32_t events) {
  epoll_event event{};
  event.events = events | EPOLLET;
  event.data.ptr = data;
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl");
}

void close_pair(Pair& pair) {
  if (pair.dead) return;
  pair.dead = true;
  close(pair.client.fd);
  if (pair.upstream.fd >= 0) close(pair.upstream.fd);
  dead_pairs.push_back(&pair);
}

// Sends what `to` is owed, then `data`, and keeps what the socket refuses.
// Returns false when the connection is broken.
bool send_to(Side& to, const char* data, std::size_t size) {
  while (size > 0) {
    ssize_t sent = send(to.fd, data, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno != EAGAIN) return false;
    if (sent < 0) break;
    data += sent;
    size -= static_cast<std::size_t>(sent);
  }
  to.unsent.assign(data, size);
  return true;
}

// Moves bytes from `from` to its other side until one of the two would block.
// Returns false when the connection is broken.
bool pump(Side& from) {
  Side& to = *from.other;
  while (from.readable && to.unsent.empty() && !from.read_closed) {
    ssize_t got = recv(from.fd, scratch.data(), scratch.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno != EAGAIN) return false;
    std::size_t size = got > 0 ? static_cast<std::size_t>(got) : 0;
    // A short read has drained the socket; a FIN behind it is a new edge
    // because the registration asks for EPOLLRDHUP.
    if (size < scratch.size()) from.readable = false;
    if (got == 0) from.read_closed = true;
    if (!send_to(to, scratch.data(), size)) return false;
  }
  if (from.read_closed && to.unsent.empty() && !to.write_closed) {
    to.write_closed = true;
    shutdown(to.fd, SHUT_WR);
  }
  return true;
}

void on_event(Side& side, std::uint32_t events) {
  Pair& pair = *side.pair;
  if (pair.dead) return;
  bool alive = (events & EPOLLERR) == 0;
  if (alive && (events & EPOLLOUT) != 0 && !side.unsent.empty()) {
    std::string unsent = std::move(side.unsent);
    alive = send_to(side, unsent.data(), unsent.size()) && pump(*side.other);
  }
  if (alive && (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) != 0) {
    side.readable = true;
    alive = pump(side);
  }
  bool finished = pair.client.write_closed && pair.upstream.write_closed;
  if (!alive || finished) close_pair(pair);
}

int listen_on(int port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address = loopback(port);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    die("bind");
  }
  if (listen(fd, kBacklog) != 0) die("listen");
  return fd;
}

void accept_all(int epoll_fd, int listen_fd, int upstream_port) {
  constexpr std::uint32_t kAll = EPOLLIN | EPOLLOUT | EPOLLRDHUP;
  constexpr int kFlags = SOCK_NONBLOCK | SOCK_CLOEXEC;
  for (;;) {
    int fd = accept4(listen_fd, nullptr, nullptr, kFlags);
    if (fd < 0) return;  // drained; on EMFILE the next edge tries again
    auto* pair = new Pair;
    pair->client = {.fd = fd, .pair = pair, .other = &pair->upstream};
    pair->upstream = {.fd = socket(AF_INET, SOCK_STREAM | kFlags, 0), .pair = pair, .other = &pair->client};
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    int upstream = pair->upstream.fd;
    setsockopt(upstream, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    sockaddr_in address = loopback(upstream_port);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    int failed = connect(upstream, generic, sizeof address);
    if (failed != 0 && errno != EINPROGRESS) {
      close_pair(*pair);
      continue;
    }
    watch(epoll_fd, fd, &pair->client, kAll);
    watch(epoll_fd, upstream, &pair->upstream, kAll);
  }
}

}  // namespace

int main(int argc, char** argv) {
  int listen_port = argc == 3 ? std::atoi(argv[1]) : 0;
  int upstream_port = argc == 3 ? std::atoi(argv[2]) : 0;
  if (listen_port <= 0 || upstream_port <= 0) {
    std::fprintf(stderr, "usage: bench_relay LISTEN_PORT UPSTREAM_PORT\n");
    return 1;
  }
  int listen_fd = listen_on(listen_port);
  int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) die("epoll_create1");
  watch(epoll_fd, listen_fd, nullptr, EPOLLIN);
  std::array<epoll_event, kEvents> events;
  for (;;) {
    int count = epoll_wait(epoll_fd, events.data(), kEvents, -1);
    if (count < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      if (event.data.ptr == nullptr) {
        accept_all(epoll_fd, listen_fd, upstream_port);
      } else {
        on_event(*static_cast<Side*>(event.data.ptr), event.events);
      }
    }
    for (Pair* pair : dead_pairs) delete pair;
    dead_pairs.clear();
  }
}
