// Socket system calls with pinnace's options, one function each. Every descriptor is non-blocking and close-on-exec.
#pragma once

#include <sys/uio.h>

#include "proxy/base/address.h"

namespace pinnace::net {

struct ListenOptions {
  bool reuse_port = true;
  bool transparent = false;  // IP_TRANSPARENT, for TPROXY
  bool ipv4_compat = false;  // accept IPv4 on [::]
  uint32_t pipe_mode = 0;
  bool operator==(const ListenOptions&) const = default;
};

// A bound socket. It accepts nothing before start_listening().
Result<int> bind_listener(const base::Address& address, const ListenOptions& options);
void start_listening(int fd, int backlog);
void stop_listening(int fd);
// One connection, or -1 with errno. `remote` is where it came from.
int accept(int fd, base::Address& remote);
// Where a connection comes from.
struct Source {
  base::Address address = {};  // kNone: the system chooses
  bool foreign = false;        // another host's address (IP_TRANSPARENT, for TPROXY)
  uint32_t mark = 0;           // SO_MARK
  friend bool operator==(const Source&, const Source&) = default;
};

// A socket that connects to `remote` from `source`. -1 with `failure` set to an errno.
int start_connect(const base::Address& remote, const Source& source, int& failure);
int socket_error(int fd);
base::Address socket_name(int fd);
// Where iptables REDIRECT took the connection from; false when it was not redirected. SO_ORIGINAL_DST.
bool original_destination(int fd, base::Address& destination);
void set_no_delay(int fd);
void reset_on_close(int fd);
// As recv(2), send(2) with MSG_NOSIGNAL, and sendmsg(2). In a program with threads the C library's own are cancellation
// points, which cost two atomic operations each.
ssize_t receive(int fd, void* to, size_t size);
ssize_t send_bytes(int fd, const void* from, size_t size);
ssize_t send_gathered(int fd, iovec* parts, size_t count);

// This machine's first address of that family that is no loopback's; else the loopback's.
base::Address local_address(int family);

struct Keepalive {
  uint32_t probes = 0, time_s = 0, interval_s = 0;  // 0: the kernel's default
};
void set_keepalive(int fd, const Keepalive& keepalive);

}  // namespace pinnace::net
