#include "proxy/net/socket.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace pinnace::net {

using base::Address;

namespace {

// SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST, whose headers do not compile beside netinet/in.h.
constexpr int kOriginalDst = 80;
constexpr int kIp6OriginalDst = 80;

void set_flag(int fd, int level, int name, int value = 1) { setsockopt(fd, level, name, &value, sizeof value); }

std::string failed(const char* what, const Address& address) {
  return std::string("cannot ") + what + " " + address.text() + ": " + std::strerror(errno);
}

}  // namespace

Result<int> bind_listener(const Address& address, const ListenOptions& options) {
  int fd = socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return error(failed("open a socket for", address));
  if (address.is_ip()) {
    set_flag(fd, SOL_SOCKET, SO_REUSEADDR);
    if (options.reuse_port) set_flag(fd, SOL_SOCKET, SO_REUSEPORT);
    if (options.transparent) set_flag(fd, SOL_IP, IP_TRANSPARENT);
    if (address.family() == AF_INET6) set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, options.ipv4_compat ? 0 : 1);
    set_flag(fd, IPPROTO_TCP, TCP_NODELAY);  // inherited by accepted sockets
  } else if (!address.path().empty() && address.path()[0] != '@') {
    ::unlink(address.path().c_str());
  }
  sockaddr_storage storage;
  socklen_t length = address.to_sockaddr(storage);
  if (bind(fd, reinterpret_cast<sockaddr*>(&storage), length) != 0) {
    auto failure = error(failed("listen on", address));
    close(fd);
    return failure;
  }
  if (address.kind() == Address::Kind::kPipe && options.pipe_mode != 0)
    chmod(address.path().c_str(), options.pipe_mode);
  return fd;
}

void start_listening(int fd, int backlog) { ::listen(fd, backlog); }

void stop_listening(int fd) { ::shutdown(fd, SHUT_RDWR); }

int accept(int fd, Address& remote) {
  sockaddr_storage storage;
  socklen_t length = sizeof storage;
  int accepted = accept4(fd, reinterpret_cast<sockaddr*>(&storage), &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (accepted >= 0) remote = Address::from_sockaddr(storage, length);
  return accepted;
}

int start_connect(const Address& remote, const Source& source, int& failure) {
  int fd = socket(remote.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    failure = errno;
    return -1;
  }
  if (remote.is_ip()) set_no_delay(fd);
  sockaddr_storage storage;
  if (source.mark != 0) setsockopt(fd, SOL_SOCKET, SO_MARK, &source.mark, sizeof source.mark);
  if (source.address.is_ip() && remote.is_ip() && source.address.kind() != remote.kind()) {
    failure = EAFNOSUPPORT;  // never from an address by which nobody would know us
    close(fd);
    return -1;
  }
  if (source.address.is_ip() && remote.is_ip()) {
    set_flag(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT);
    if (source.foreign) {
      bool v6 = source.address.kind() == Address::Kind::kIpv6;
      set_flag(fd, v6 ? SOL_IPV6 : SOL_IP, v6 ? IPV6_TRANSPARENT : IP_TRANSPARENT);
    }
    socklen_t length = source.address.to_sockaddr(storage);
    if (bind(fd, reinterpret_cast<sockaddr*>(&storage), length) != 0) {
      failure = errno;
      close(fd);
      return -1;
    }
  }
  socklen_t length = remote.to_sockaddr(storage);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&storage), length) != 0 && errno != EINPROGRESS) {
    failure = errno;
    close(fd);
    return -1;
  }
  return fd;
}

int socket_error(int fd) {
  int value = 0;
  socklen_t length = sizeof value;
  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &length) == 0 ? value : errno;
}

Address socket_name(int fd) {
  sockaddr_storage storage;
  socklen_t length = sizeof storage;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) return {};
  return Address::from_sockaddr(storage, length);
}

bool original_destination(int fd, Address& destination) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  if (getsockopt(fd, SOL_IP, kOriginalDst, &storage, &length) == 0 && storage.ss_family == AF_INET) {
    destination = Address::from_sockaddr(storage, length);
    return true;
  }
  length = sizeof storage;
  if (getsockopt(fd, IPPROTO_IPV6, kIp6OriginalDst, &storage, &length) == 0 && storage.ss_family == AF_INET6) {
    destination = Address::from_sockaddr(storage, length);
    return true;
  }
  return false;
}

void set_no_delay(int fd) { set_flag(fd, IPPROTO_TCP, TCP_NODELAY); }

void reset_on_close(int fd) {
  linger value{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &value, sizeof value);
}

ssize_t send_gathered(int fd, iovec* parts, size_t count) {
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = count;
  return syscall(SYS_sendmsg, fd, &message, MSG_NOSIGNAL);
}

ssize_t receive(int fd, void* to, size_t size) { return syscall(SYS_recvfrom, fd, to, size, 0, nullptr, nullptr); }

ssize_t send_bytes(int fd, const void* from, size_t size) {
  return syscall(SYS_sendto, fd, from, size, MSG_NOSIGNAL, nullptr, 0);
}

base::Address local_address(int family) {
  base::Address found = base::Address::ip(family == AF_INET6 ? "::1" : "127.0.0.1", 0).value();
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return found;
  for (const ifaddrs* at = all; at; at = at->ifa_next) {
    if (!at->ifa_addr || at->ifa_addr->sa_family != family || (at->ifa_flags & IFF_LOOPBACK) != 0) continue;
    socklen_t size = family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
    sockaddr_storage storage{};
    std::memcpy(&storage, at->ifa_addr, size);
    found = base::Address::from_sockaddr(storage, size);
    break;
  }
  freeifaddrs(all);
  return found;
}

void set_keepalive(int fd, const Keepalive& keepalive) {
  set_flag(fd, SOL_SOCKET, SO_KEEPALIVE);
  if (keepalive.probes) set_flag(fd, IPPROTO_TCP, TCP_KEEPCNT, static_cast<int>(keepalive.probes));
  if (keepalive.time_s) set_flag(fd, IPPROTO_TCP, TCP_KEEPIDLE, static_cast<int>(keepalive.time_s));
  if (keepalive.interval_s) set_flag(fd, IPPROTO_TCP, TCP_KEEPINTVL, static_cast<int>(keepalive.interval_s));
}

}  // namespace pinnace::net
