// Sink: one log file (or stdout) written by a thread of its own. A worker renders into its own buffer and hands the
// buffer over when it is large or a second has passed, so that the request path neither writes nor waits. What the file
// does not take in time is bounded: lines are dropped and counted, a worker never blocks.
// THREAD: append() and flush() by the worker that owns the Buffer; the rest any.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "proxy/base/result.h"

namespace pinnace::access_log {

class Sink {
 public:
  static constexpr size_t kHandOver = 64 * 1024;
  static constexpr size_t kMaxQueued = 8 * 1024 * 1024;

  explicit Sink(std::string path) : path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }
  uint32_t index() const { return index_; }

 private:
  friend class SinkThread;
  std::string path_;
  uint32_t index_ = 0;
  int fd_ = -1;
  size_t queued_ = 0;  // guarded by the thread's mutex
  std::atomic<uint64_t> dropped_{0};
};

// All sinks of the process and the thread that writes them.
class SinkThread {
 public:
  SinkThread();
  ~SinkThread();

  // The sink of that path, opened on first use. ERRORS: the file cannot be opened.
  Result<std::shared_ptr<Sink>> open(const std::string& path);
  // Queues `bytes` (taken) for the sink.
  void hand_over(Sink& sink, std::string bytes);
  // A buffer to render into, from those already written.
  std::string take_buffer();
  // Opens every file again (SIGUSR1, log rotation).
  void reopen();

 private:
  struct Job {
    Sink* sink;
    std::string bytes;
  };

  void run();
  void write_all(Sink& sink, const std::string& bytes);

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  std::vector<std::string> spare_;
  std::map<std::string, std::shared_ptr<Sink>> sinks_;
  bool reopen_ = false;
  bool stop_ = false;
  std::thread thread_;
};

// One worker's unwritten lines, a buffer per sink.
class Buffers {
 public:
  explicit Buffers(SinkThread& thread) : thread_(thread) {}
  ~Buffers() { flush(); }

  std::string& of(Sink& sink) {
    if (sink.index() >= buffers_.size()) buffers_.resize(sink.index() + 1);
    Entry& entry = buffers_[sink.index()];
    entry.sink = &sink;
    return entry.text;
  }
  // After a line was appended to of(sink).
  void appended(Sink& sink) {
    if (buffers_[sink.index()].text.size() >= Sink::kHandOver) hand_over(buffers_[sink.index()]);
  }
  void flush() {
    for (auto& entry : buffers_) {
      if (!entry.text.empty()) hand_over(entry);
    }
  }

 private:
  struct Entry {
    Sink* sink = nullptr;
    std::string text;
  };
  void hand_over(Entry& entry) {
    std::string full = std::move(entry.text);
    entry.text = thread_.take_buffer();
    thread_.hand_over(*entry.sink, std::move(full));
  }

  SinkThread& thread_;
  std::vector<Entry> buffers_;
};

}  // namespace pinnace::access_log
