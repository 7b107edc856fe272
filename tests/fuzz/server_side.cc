#include "tests/fuzz/server_side.h"

#include "tests/fuzz/server_request.h"

namespace pinnace::fuzz {

ServerSide::ServerSide(MakeCodec make_codec, const How& how, Bytes input, Split split, int reads)
    : how_(how), pieces_(input, split), input_size_(input.size()), reads_(reads) {
  settings_.options = {how.trailers, how.preserve_case};
  if (how.small) {
    settings_.max_head_bytes = 256;
    settings_.limits.max_headers = 6;
  }
  codec_ = make_codec(wire_.connection(), *this, how, settings_);
  wire_.on_writable_call([this] {
    if (!done_) codec_->connection_writable();
  });
  wire_.run(input.size() * 4 + 2000, [this] { return turn(); });
}

ServerSide::~ServerSide() = default;

http::RequestReceiver& ServerSide::new_stream(http::ResponseSender& sender) {
  check(!done_, "no stream after the end");
  if (codec_->protocol() != http::Protocol::kHttp2) check(live_.empty(), "one request at a time");
  live_.push_back(new ServerRequest(*this, sender, stories_.size()));
  stories_.emplace_back();
  told_.emplace_back();
  return *live_.back();
}

void ServerSide::on_partial_head() { check(!done_, "no head after the end"); }

void ServerSide::on_codec_fault(std::string_view detail) {
  check(!done_ && fault_.empty(), "a fault is told once, before the end");
  fault_ = detail.empty() ? "fault" : detail;
}

void ServerSide::on_codec_done() {
  check(!std::exchange(done_, true), "the end is told once");
  while (!live_.empty()) live_.back()->connection_ended();
  codec_->abandon();
}

void ServerSide::ended(ServerRequest& request) {
  check(std::erase(live_, &request) == 1, "a request ends once");
  wire_.loop().destroy_later(std::unique_ptr<base::Deferred>(&request));
}

bool ServerSide::has_due() const {
  return std::any_of(live_.begin(), live_.end(), [](const ServerRequest* request) { return request->due(); });
}

void ServerSide::feed() {
  for (int n = 0; n < reads_ && !done_ && wire_.connection().reading() && !pieces_.empty(); n++) {
    quiet_turns_ = 0;
    auto piece = pieces_.next();
    codec_->receive(piece);
    wire_.loop().flush_writes();
  }
}

// What timers and the listener do: they know nothing of what the codec is at.
void ServerSide::drain() {
  if (turns_ == 3) codec_->start_drain();
  if (turns_ == 5) codec_->reject_partial_head(408, "request_header_timeout");
  if (turns_ == 7) codec_->finish_drain();
}

void ServerSide::end_input() {
  check(wire_.connection().reading(), "reading goes on once everybody has read");
  if (how_.slow_reader) {
    codec_->connection_lost("downstream_remote_disconnect");
  } else {
    codec_->receive_eof();
  }
  wire_.loop().flush_writes();
  check(done_, "the end of input ends the connection");
}

bool ServerSide::turn() {
  quiet_turns_++;
  if ((!how_.slow_reader || turns_ % 3 == 0) && wire_.drain()) quiet_turns_ = 0;
  if (has_due()) quiet_turns_ = 0;
  if (how_.drain && !done_) drain();
  turns_++;
  for (ServerRequest* request : std::vector(live_)) {
    if (!done_ && request->due()) request->run_due();
  }
  wire_.loop().flush_writes();
  feed();
  // What waits is what was asked for: echoes of the input and answers to it. Every chunk has a frame around it.
  check(wire_.connection().unsent() <= Wire::kBufferLimit + 64 * input_size_ + 64 * 1024, "what waits is bounded");
  if (!done_ && quiet_turns_ > 2) end_input();
  if (!done_) return true;
  static constexpr std::string_view kLate = "GET / HTTP/1.1\r\nhost: late\r\n\r\n";
  codec_->receive(copy({reinterpret_cast<const uint8_t*>(kLate.data()), kLate.size()}));
  if (!wire_.close()) return true;
  codec_.reset();
  return false;
}

}  // namespace pinnace::fuzz
