#include "proxy/access_log/sink.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "proxy/base/log.h"

namespace pinnace::access_log {
namespace {

int open_path(const std::string& path) {
  if (path == "/dev/stdout") return dup(STDOUT_FILENO);  // /proc may refuse to open a pipe again as another user
  if (path == "/dev/stderr") return dup(STDERR_FILENO);
  return ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

}  // namespace

SinkThread::SinkThread() : thread_([this] { run(); }) {}

SinkThread::~SinkThread() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
  for (auto& [path, sink] : sinks_) close(sink->fd_);
}

Result<std::shared_ptr<Sink>> SinkThread::open(const std::string& path) {
  std::lock_guard lock(mutex_);
  auto found = sinks_.find(path);
  if (found != sinks_.end()) return found->second;
  int fd = open_path(path);
  if (fd < 0) return error("cannot open access log " + path + ": " + std::strerror(errno));
  auto sink = std::make_shared<Sink>(path);
  sink->fd_ = fd;
  sink->index_ = static_cast<uint32_t>(sinks_.size());
  sinks_.emplace(path, sink);
  return sink;
}

void SinkThread::hand_over(Sink& sink, std::string bytes) {
  {
    std::lock_guard lock(mutex_);
    if (sink.queued_ + bytes.size() > Sink::kMaxQueued) {
      uint64_t lines = 0;
      for (char c : bytes) lines += c == '\n';
      sink.dropped_.fetch_add(lines, std::memory_order_relaxed);
      return;
    }
    sink.queued_ += bytes.size();
    jobs_.push_back({&sink, std::move(bytes)});
  }
  wake_.notify_one();
}

std::string SinkThread::take_buffer() {
  std::lock_guard lock(mutex_);
  if (spare_.empty()) {
    std::string fresh;
    fresh.reserve(Sink::kHandOver + 4096);
    return fresh;
  }
  std::string buffer = std::move(spare_.back());
  spare_.pop_back();
  return buffer;
}

void SinkThread::reopen() {
  {
    std::lock_guard lock(mutex_);
    reopen_ = true;
  }
  wake_.notify_one();
}

void SinkThread::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stop_ || reopen_ || !jobs_.empty(); });
    if (reopen_) {
      reopen_ = false;
      for (auto& [path, sink] : sinks_) {
        int fd = open_path(path);
        if (fd < 0) continue;
        close(sink->fd_);
        sink->fd_ = fd;
      }
    }
    if (jobs_.empty()) {
      if (stop_) return;
      continue;
    }
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    write_all(*job.sink, job.bytes);
    lock.lock();
    job.sink->queued_ -= job.bytes.size();
    if (spare_.size() < 16) {
      job.bytes.clear();
      spare_.push_back(std::move(job.bytes));
    }
  }
}

void SinkThread::write_all(Sink& sink, const std::string& bytes) {
  size_t done = 0;
  int waits = 0;
  while (done < bytes.size()) {
    ssize_t n = ::write(sink.fd_, bytes.data() + done, bytes.size() - done);
    if (n > 0) {
      done += static_cast<size_t>(n);
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN && waits++ < 10) {  // somebody made our stdout non-blocking
      pollfd ready{sink.fd_, POLLOUT, 0};
      poll(&ready, 1, 100);
      continue;
    }
    sink.dropped_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
}

}  // namespace pinnace::access_log
