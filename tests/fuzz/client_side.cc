#include "tests/fuzz/client_side.h"

#include "tests/fuzz/client_request.h"

namespace pinnace::fuzz {

ClientSide::ClientSide(MakeCodec make_codec, const Asked& asked, Bytes input, Split split, int reads)
    : asked_(asked), pieces_(input, split), input_size_(input.size()), reads_(reads) {
  settings_.options = {asked.trailers, asked.preserve_case};
  if (asked.small) {
    settings_.max_head_bytes = 256;
    settings_.limits.max_headers = 6;
  }
  codec_ = make_codec(wire_.connection(), *this, asked, settings_);
  wire_.on_writable_call([this] { codec_->connection_writable(); });
  wire_.run(input.size() * 4 + 2000, [this] { return turn(); });
}

ClientSide::~ClientSide() = default;

// HTTP/1 says with the end of its one stream whether there can be another; HTTP/2 says so by itself.
void ClientSide::on_stream_end(bool reusable) {
  check(++stream_ends_ <= started_, "a stream ends once");
  if (!reusable) usable_ = false;
  if (asked_.at_once && !starting_) start_requests();
}

void ClientSide::start_requests() {
  starting_ = true;
  while (usable_ && started_ < kMostRequests && codec_->streams() < codec_->max_streams()) {
    auto* request = new ClientRequest(*this, started_++);
    stories_.emplace_back();
    live_.push_back(request);
    request->start(*codec_);
  }
  starting_ = false;
}

void ClientSide::ended(ClientRequest& request) {
  check(std::erase(live_, &request) == 1, "a request ends once");
  wire_.loop().destroy_later(std::unique_ptr<base::Deferred>(&request));
}

void ClientSide::feed() {
  for (int n = 0; n < reads_ && wire_.connection().reading() && !pieces_.empty(); n++) {
    quiet_turns_ = 0;
    auto piece = pieces_.next();
    codec_->receive(piece);
    wire_.loop().flush_writes();
  }
}

bool ClientSide::turn() {
  quiet_turns_++;
  if (wire_.drain()) quiet_turns_ = 0;
  size_t first_turn = started_ == 0;
  for (ClientRequest* request : std::vector(live_)) {
    if (!request->due() || std::find(live_.begin(), live_.end(), request) == live_.end()) continue;
    quiet_turns_ = 0;
    request->run_due();
    wire_.loop().flush_writes();
  }
  start_requests();
  wire_.loop().flush_writes();
  if (!first_turn) feed();  // answers come after requests
  check(wire_.connection().unsent() <= Wire::kBufferLimit + 64 * input_size_ + 64 * 1024, "what waits is bounded");
  if (quiet_turns_ <= 2) return true;
  if (!std::exchange(closed_, true)) {
    check(wire_.connection().reading(), "reading goes on once everybody has read");
    if (asked_.at_once) {
      codec_->connection_lost(http::ResetReason::kPeerReset, "");
    } else {
      codec_->receive_eof();
    }
    wire_.loop().flush_writes();
    check(live_.empty() && !usable_, "the end of input ends every request, and the connection");
    codec_->receive(copy(Bytes(reinterpret_cast<const uint8_t*>("HTTP/1.1 200 OK\r\n\r\n"), 19)));
  }
  if (!wire_.close()) return true;
  codec_.reset();
  return false;
}

}  // namespace pinnace::fuzz
