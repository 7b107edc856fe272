// The sending half of Connection: what is queued in a dispatch, sent at its end, and kept when the socket is full.
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "proxy/net/connection.h"
#include "proxy/net/socket.h"

namespace pinnace::net {

using base::EventLoop;

namespace {

// More than this is worth a system call of its own, and less is worth a copy.
constexpr size_t kMostHeld = 4096;

}  // namespace

void Connection::schedule_write() {
  if (held_) write_task_.unlink();
  held_ = false;
  if (!write_task_.linked()) loop_.write_later(write_task_);
}

void Connection::write(Bytes data) {
  if (data.empty() || state_ == State::kClosed || state_ == State::kLingering) return;
  queued_ += data.size();
  if (piece_count_ == kMaxPieces) {
    keep_pieces(0, 0);
    chain_.append(data);
    queued_ = 0;
  } else if (piece_count_ == 0 && !chain_.empty() && socket_full_ && !secure_) {
    queued_ = 0;
    chain_.append(data);  // it cannot be sent this turn anyway
  } else {
    pieces_[piece_count_++] = data;
  }
  schedule_write();
  if (unsent() > buffer_limit_) blocked_ = true;
}

void Connection::write(base::Chain&& data) {
  if (data.empty() || state_ == State::kClosed || state_ == State::kLingering) return data.clear();
  keep_pieces(0, 0);
  chain_.append(std::move(data));
  schedule_write();
  if (unsent() > buffer_limit_) blocked_ = true;
}

void Connection::keep_pieces(size_t first, size_t skip) {
  for (size_t i = first; i < piece_count_; i++) {
    chain_.append(pieces_[i].subspan(skip));
    skip = 0;
  }
  piece_count_ = 0;
  queued_ = 0;
}

// The end of a dispatch: what is little waits for the end of the turn.
void Connection::flush_or_hold() {
  bool hold = loop_.more_events() && state_ == State::kOpen && !socket_full_ && !write_shut_ && chain_.empty() &&
              queued_ <= kMostHeld;
  if (!hold) return flush();
  if (secure_) {
    flush_secure(true);
    if (!held_ && state_ == State::kOpen) after_flush();
  } else if (uint8_t* to = loop_.outbox(queued_)) {
    size_t at = 0;
    for (size_t i = 0; i < piece_count_; i++) {
      std::memcpy(to + at, pieces_[i].data(), pieces_[i].size());
      at += pieces_[i].size();
    }
    pieces_[0] = {to, at};
    piece_count_ = 1;
    held_ = true;
  } else {
    return flush();
  }
  if (held_) loop_.send_at_turn_end(write_task_);
}

void Connection::flush() {
  write_task_.unlink();
  held_ = false;
  if (state_ == State::kClosed) return;
  if (state_ == State::kConnecting || state_ == State::kHandshake) {
    keep_pieces(0, 0);
    return;
  }
  if (secure_) {
    flush_secure(false);
  } else {
    flush_raw();
  }
  if (state_ != State::kClosed) after_flush();
}

void Connection::flush_raw() {
  if (socket_full_) {
    keep_pieces(0, 0);
    return;
  }
  while (piece_count_ > 0 || !chain_.empty()) {
    iovec parts[32];
    size_t count = 0;
    size_t total = 0;
    for (auto* block = chain_.first_block(); block && count < 32 - kMaxPieces; block = block->next) {
      parts[count++] = {const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(block + 1)) + block->begin,
                        block->end - block->begin};
      total += parts[count - 1].iov_len;
    }
    bool whole_chain = total == chain_.size();
    if (whole_chain) {
      for (size_t i = 0; i < piece_count_; i++) {
        parts[count++] = {const_cast<uint8_t*>(pieces_[i].data()), pieces_[i].size()};
        total += pieces_[i].size();
      }
    }
    ssize_t n = count == 1 ? send_bytes(fd_, parts[0].iov_base, parts[0].iov_len) : send_gathered(fd_, parts, count);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        socket_full_ = true;
        keep_pieces(0, 0);
        return;
      }
      return fail(CloseReason::kPeerReset, errno);
    }
    auto sent = static_cast<size_t>(n);
    bytes_sent_ += sent;
    if (byte_stats_) loop_.cells().add(byte_stats_->tx_bytes, sent);
    bool all = sent == total;
    size_t from_chain = std::min(sent, chain_.size());
    chain_.drain(from_chain);
    sent -= from_chain;
    size_t i = 0;
    for (; i < piece_count_ && whole_chain && sent >= pieces_[i].size(); i++) sent -= pieces_[i].size();
    if (i == piece_count_) {
      piece_count_ = 0;
      queued_ = 0;
    } else {
      keep_pieces(i, sent);
    }
    if (!all) {
      socket_full_ = true;  // a short send means a full socket buffer; EPOLLOUT follows
      return;
    }
  }
}

// Encrypts everything that waits, small pieces gathered into full records, and sends the ciphertext.
void Connection::flush_secure(bool hold) {
  uint8_t* record = loop_.record_scratch();
  size_t filled = 0;
  bool ok = true;
  auto encrypt = [&](Bytes data) {
    ok = secure_->send(data) == SecureTransport::Status::kOk;
    // What does not fit the scratch memory would be copied.
    if (ok && secure_->output_size() + 2 * EventLoop::kRecordSize > EventLoop::kReadSize) ok = send_secure_output();
  };
  auto add = [&](Bytes data) {
    while (!data.empty() && ok) {
      if (filled == 0 && data.size() >= EventLoop::kRecordSize) {
        encrypt(data.first(EventLoop::kRecordSize));
        data = data.subspan(EventLoop::kRecordSize);
        continue;
      }
      size_t n = std::min(data.size(), EventLoop::kRecordSize - filled);
      std::memcpy(record + filled, data.data(), n);
      filled += n;
      data = data.subspan(n);
      if (filled == EventLoop::kRecordSize) {
        encrypt({record, filled});
        filled = 0;
      }
    }
  };
  base::Chain waiting = std::move(chain_);
  waiting.each(add);
  for (size_t i = 0; i < piece_count_; i++) add(pieces_[i]);
  piece_count_ = 0;
  queued_ = 0;
  if (filled > 0 && ok) encrypt({record, filled});
  if (state_ == State::kClosed) return;
  if (!ok) return fail(CloseReason::kTlsFailed, 0);
  if (write_shut_ && !fin_sent_) secure_->shutdown();
  held_ = hold && secure_->hold_output();
  if (!held_) send_secure_output();
}

// Sends ciphertext as far as the socket takes it and keeps the rest. False when the connection is gone.
bool Connection::send_secure_output() {
  while (!socket_full_ && secure_->output_size() > 0) {
    Bytes data = secure_->output();
    ssize_t n = send_bytes(fd_, data.data(), data.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        socket_full_ = true;
        break;
      }
      secure_->keep_output();
      fail(CloseReason::kPeerReset, errno);
      return false;
    }
    bytes_sent_ += static_cast<uint64_t>(n);
    if (byte_stats_) loop_.cells().add(byte_stats_->tx_bytes, static_cast<uint64_t>(n));
    secure_->output_consumed(static_cast<size_t>(n));
    if (static_cast<size_t>(n) < data.size()) socket_full_ = true;
  }
  secure_->keep_output();
  return true;
}

void Connection::after_flush() {
  size_t left = unsent();
  if (left == 0 && write_shut_ && !fin_sent_) {
    fin_sent_ = true;
    ::shutdown(fd_, SHUT_WR);
    if (state_ == State::kLingering && eof_) return end_lingering();
  }
  if (blocked_ && left <= buffer_limit_ / 2) {
    blocked_ = false;
    if (state_ == State::kOpen) callbacks_->on_writable();
  } else if (left > buffer_limit_) {
    blocked_ = true;
  }
}

void Connection::shutdown_write() {
  if (write_shut_ || state_ == State::kClosed) return;
  write_shut_ = true;
  schedule_write();
}

}  // namespace pinnace::net
