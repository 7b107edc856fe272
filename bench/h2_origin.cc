// h2_origin: the HTTP/2 server (prior knowledge) behind every proxy of the
// bench, on nghttp2. GET gets 200 and a body of --size; a request with
// content-type application/grpc gets one gRPC message of that size and
// `grpc-status: 0` in trailers once its own body has ended.
// THREAD: one loop. ERRORS: a connection that breaks the protocol is closed.

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::size_t kScratchSize = 64 * 1024;
constexpr int kBacklog = 4096;

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

nghttp2_nv field(std::string_view name, std::string_view value) {
  auto bytes = [](std::string_view text) { return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data())); };
  return {bytes(name), bytes(value), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

// What every answer is made of.
struct Answer {
  std::string body;     // of a plain answer
  std::string message;  // of a gRPC one: its five bytes of prefix, then the payload
  std::string length;
};

class Connection;

struct Stream {
  Connection* connection;
  bool grpc = false;
  std::size_t sent = 0;
};

class Connection {
 public:
  Connection(int fd, const Answer& answer) : fd_(fd), answer_(answer) {
    nghttp2_session_callbacks* callbacks;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_server_new(&session_, callbacks, this);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_settings_entry settings{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1000};
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, &settings, 1);
  }
  ~Connection() {
    nghttp2_session_del(session_);
    close(fd_);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Takes one edge. Returns false when the connection is over.
  bool on_event(std::vector<std::uint8_t>& scratch) {
    for (;;) {
      ssize_t got = recv(fd_, scratch.data(), scratch.size(), 0);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && errno == EAGAIN) break;
      if (got <= 0 || nghttp2_session_mem_recv(session_, scratch.data(), static_cast<std::size_t>(got)) < 0)
        return false;
      if (static_cast<std::size_t>(got) < scratch.size()) break;
    }
    return flush();
  }

 private:
  static int on_begin_headers(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
      nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, new Stream{static_cast<Connection*>(user)});
    return 0;
  }
  static int on_header(nghttp2_session* session, const nghttp2_frame* frame, const std::uint8_t* name,
                       std::size_t name_size, const std::uint8_t* value, std::size_t value_size, std::uint8_t, void*) {
    std::string_view key{reinterpret_cast<const char*>(name), name_size};
    std::string_view text{reinterpret_cast<const char*>(value), value_size};
    auto* stream = static_cast<Stream*>(nghttp2_session_get_stream_user_data(session, frame->hd.stream_id));
    if (stream && key == "content-type" && text.starts_with("application/grpc")) stream->grpc = true;
    return 0;
  }
  static int on_frame(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    bool end = (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
               (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    auto* stream = static_cast<Stream*>(nghttp2_session_get_stream_user_data(session, frame->hd.stream_id));
    if (end && stream) static_cast<Connection*>(user)->respond(frame->hd.stream_id, *stream);
    return 0;
  }
  static int on_stream_close(nghttp2_session* session, std::int32_t id, std::uint32_t, void*) {
    delete static_cast<Stream*>(nghttp2_session_get_stream_user_data(session, id));
    return 0;
  }
  static ssize_t read_body(nghttp2_session* session, std::int32_t id, std::uint8_t* to, std::size_t room,
                           std::uint32_t* flags, nghttp2_data_source* source, void* user) {
    auto& stream = *static_cast<Stream*>(source->ptr);
    const Answer& answer = static_cast<Connection*>(user)->answer_;
    const std::string& all = stream.grpc ? answer.message : answer.body;
    std::size_t n = std::min(room, all.size() - stream.sent);
    std::memcpy(to, all.data() + stream.sent, n);
    stream.sent += n;
    if (stream.sent < all.size()) return static_cast<ssize_t>(n);
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (stream.grpc) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      nghttp2_nv status = field("grpc-status", "0");
      nghttp2_submit_trailer(session, id, &status, 1);
    }
    return static_cast<ssize_t>(n);
  }

  void respond(std::int32_t id, Stream& stream) {
    nghttp2_nv plain[] = {field(":status", "200"), field("content-length", answer_.length),
                          field("content-type", "text/plain")};
    nghttp2_nv grpc[] = {field(":status", "200"), field("content-type", "application/grpc")};
    nghttp2_data_provider provider{{.ptr = &stream}, read_body};
    nghttp2_submit_response(session_, id, stream.grpc ? grpc : plain, stream.grpc ? 2 : 3, &provider);
  }

  bool flush() {
    for (;;) {
      while (out_.size() < kScratchSize) {
        const std::uint8_t* bytes = nullptr;
        ssize_t n = nghttp2_session_mem_send(session_, &bytes);
        if (n < 0) return false;
        if (n == 0) break;
        out_.insert(out_.end(), bytes, bytes + n);
      }
      if (out_.empty()) break;
      ssize_t sent = send(fd_, out_.data(), out_.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0) return errno == EAGAIN;
      out_.erase(out_.begin(), out_.begin() + sent);
    }
    return nghttp2_session_want_read(session_) != 0 || nghttp2_session_want_write(session_) != 0;
  }

  int fd_;
  const Answer& answer_;
  nghttp2_session* session_ = nullptr;
  std::vector<std::uint8_t> out_;
};

int listen_on(int port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) die("bind");
  if (listen(fd, kBacklog) != 0) die("listen");
  return fd;
}

[[noreturn]] void serve(int port, const Answer& answer) {
  int listener = listen_on(port);
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event watch{};
  watch.events = EPOLLIN;
  if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &watch) != 0) die("epoll");
  std::vector<std::uint8_t> scratch(kScratchSize);
  epoll_event events[256];
  for (;;) {
    int count = epoll_wait(epoll, events, 256, -1);
    for (int i = 0; i < count; i++) {
      auto* connection = static_cast<Connection*>(events[i].data.ptr);
      if (connection) {
        if (!connection->on_event(scratch)) delete connection;
        continue;
      }
      int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) continue;
      int on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      epoll_event fresh{};
      fresh.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
      fresh.data.ptr = new Connection(fd, answer);
      if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &fresh) != 0) die("epoll_ctl");
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  int port = 0;
  std::size_t size = 1024;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--port") == 0) port = std::atoi(argv[i + 1]);
    if (std::strcmp(argv[i], "--size") == 0) size = std::strtoull(argv[i + 1], nullptr, 10);
  }
  if (port <= 0 || port > 65535) {
    std::fprintf(stderr, "usage: %s --port PORT [--size BYTES]\n", argv[0]);
    return 1;
  }
  Answer answer;
  answer.body.assign(size, 'x');
  answer.length = std::to_string(size);
  answer.message.assign(5, '\0');
  for (int i = 0; i < 4; i++) answer.message[1 + i] = static_cast<char>(size >> (24 - 8 * i));
  answer.message += answer.body;
  serve(port, answer);
}
