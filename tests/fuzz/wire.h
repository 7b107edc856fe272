// Wire: one end of a connection for a codec to write to, on an event loop that runs as long as a target says. Input
// goes to the codec by hand; output goes through the real Connection and a socket pair, whose other end reads it when
// told to, so that a slow reader is one.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "proxy/net/connection.h"
#include "tests/fuzz/input.h"

namespace pinnace::fuzz {

class Wire : public net::ConnectionCallbacks, private base::TurnTask {
 public:
  static constexpr uint32_t kBufferLimit = 4 * 1024;  // small, so that writers are blocked

  Wire();
  ~Wire() override;
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  base::EventLoop& loop() { return loop_; }
  net::Connection& connection() { return *connection_; }
  // Calls `turn` once in each turn of the loop until it is false, once: a target that has not ended after `most` turns
  // hangs. REQUIRES: then nothing is left of its codec.
  void run(size_t most, std::function<bool()> turn);
  // The other end takes what was written. False when nothing was.
  bool drain();
  // All of it so far.
  const std::string& output() const { return output_; }
  void on_writable_call(std::function<void()> call) { writable_ = std::move(call); }
  // The end of its owner's part, once everything is out and read: false while it is not.
  bool close();

 private:
  void on_data(Bytes) override {}
  void on_eof() override {}
  void on_writable() override {
    if (writable_) writable_();
  }
  void on_close(net::CloseReason) override { check(false, "the wire does not break by itself"); }
  void run_turn_task() override;

  base::EventLoop loop_;
  int far_end_ = -1;
  std::unique_ptr<net::Connection> connection_;
  std::function<void()> writable_;
  std::function<bool()> turn_;
  size_t turns_left_ = 0;
  bool over_ = false;
  std::string output_;
};

}  // namespace pinnace::fuzz
