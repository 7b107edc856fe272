#include "proxy/http/h1/server_codec.h"

#include "proxy/http/h1/encoder.h"

namespace pinnace::http::h1 {

H1ServerCodec::H1ServerCodec(net::Connection& connection, Owner& owner, const ServerSettings& settings)
    : connection_(connection), owner_(owner), settings_(settings), pending_(connection.loop().blocks()) {}

void H1ServerCodec::receive(Bytes data) {
  size_t used = pending_.empty() ? consume(data) : 0;
  if (used < data.size() && state_ != State::kClosing) pending_.append(data.subspan(used));
  go_on_later();
  update_reading();
}

// Takes what belongs to the current message; stops where a pipelined one begins.
size_t H1ServerCodec::consume(Bytes data) {
  Bytes in = data;
  bool more = true;
  begun_ = 0;
  while (more) {
    switch (state_) {
      case State::kHead:
        // CVE-2020-8661: answers that nobody reads are not added to.
        more = !connection_.write_blocked() && begun_ < kMostAtOnce && take_head(in);
        break;
      case State::kBody: more = take_body(in); break;
      case State::kWaiting: more = false; break;
      case State::kTunnelWait:
        if (!in.empty()) refuse_early_data();
        return data.size();
      case State::kTunnel:
        if (!in.empty()) receiver_->on_data(in, false);
        return data.size();
      case State::kClosing: return data.size();
    }
  }
  return data.size() - in.size();
}

bool H1ServerCodec::take_head(Bytes& in) {
  std::string_view text{reinterpret_cast<const char*>(in.data()), in.size()};
  if (partial_.empty()) {
    size_t skip = leading_empty_lines(text);
    text.remove_prefix(skip);
    in = in.subspan(skip);
    if (text.empty()) return false;
    size_t scanned = 0;
    size_t end = find_head_end(text, scanned);
    if (end > 0) {
      in = in.subspan(end);
      begin(text.substr(0, end), !in.empty());
      return true;
    }
    scanned_ = scanned;
    partial_ = text;
    in = {};
  } else {
    if (text.empty()) return false;
    if (partial_ == "\r" && text[0] == '\n') {  // an empty line before the request, cut in two
      partial_.clear();
      in = in.subspan(1);
      return true;
    }
    size_t before = partial_.size();
    partial_.append(text);
    size_t end = find_head_end(partial_, scanned_);
    if (end > 0) {
      in = in.subspan(end - before);
      std::string whole = std::move(partial_);
      partial_ = {};
      begin(std::string_view(whole).substr(0, end), !in.empty());
      return true;
    }
    in = {};
  }
  if (partial_.size() > settings_.max_head_bytes) {
    refuse(431, "http1.headers_too_large");
  } else if (partial_ != "\r" && !may_begin_request(partial_)) {
    // ENVOY: what cannot become a request is answered at once: its sender may be waiting for another protocol's answer.
    std::string whole = std::move(partial_);
    partial_ = {};
    begin(whole, false);
  } else if (partial_ != "\r") {
    owner_.on_partial_head();
  }
  return false;
}

void H1ServerCodec::begin(std::string_view head, bool more) {
  begun_++;
  receiver_ = &owner_.new_stream(*this);
  response_started_ = false;
  chunked_ = false;
  close_ = head_request_ = http10_ = false;
  if (head.size() > settings_.max_head_bytes) {
    state_ = State::kClosing;
    close_ = true;
    return receiver_->on_bad_request(431, "http1.headers_too_large");
  }
  base::Arena& arena = receiver_->arena();
  char* copy = arena.take_chars(head.size());
  std::memcpy(copy, head.data(), head.size());
  RequestHead& request = receiver_->request();
  if (settings_.options.preserve_case) request.headers.keep_spelling(head);
  HeadResult result = parse_request(copy, head.size(), settings_.limits, request);
  head_request_ = request.method == "HEAD";
  http10_ = result.info.http10;
  if (result.error != HeadError::kNone) {
    uint16_t status = result.error == HeadError::kHeadersTooMany      ? 431
                      : result.error == HeadError::kBadTransferCoding ? 501
                      : result.error == HeadError::kVersion           ? 426
                                                                      : 400;
    state_ = State::kClosing;
    close_ = true;
    return receiver_->on_bad_request(status, result.detail);
  }
  if (request.wants_tunnel()) {
    upgrade_ = request.upgrade;
    close_ = true;  // whatever the answer is, no other request follows
    if (more || result.info.framing != Framing::kNone) {
      state_ = State::kClosing;
      return receiver_->on_bad_request(400, more ? "http1.data_before_tunnel" : "http1.body_disallowed");
    }
    state_ = State::kTunnelWait;
    return receiver_->on_request(false);
  }
  close_ = !result.info.keep_alive;
  body_.start(result.info);
  bool end = result.info.framing == Framing::kNone;
  state_ = end ? State::kWaiting : State::kBody;
  receiver_->on_request(end);
}

bool H1ServerCodec::take_body(Bytes& in) {
  Bytes data;
  switch (body_.next(in, data)) {
    case BodyReader::Event::kNeedMore: return false;
    case BodyReader::Event::kData:
      if (body_.framing() == Framing::kLength && body_.left() == 0) {
        state_ = State::kWaiting;
        receiver_->on_data(data, true);
      } else {
        receiver_->on_data(data, false);
      }
      return true;
    case BodyReader::Event::kDone:
      state_ = State::kWaiting;
      receiver_->on_data({}, true);
      return true;
    case BodyReader::Event::kTrailers: {
      HeaderMap& trailers = receiver_->request_trailers();
      std::string& raw = body_.trailers();
      char* copy = receiver_->arena().take_chars(raw.size());
      std::memcpy(copy, raw.data(), raw.size());
      if (parse_trailers(copy, raw.size(), settings_.limits, trailers).error != HeadError::kNone) break;
      state_ = State::kWaiting;
      if (settings_.options.trailers) {
        receiver_->on_trailers(trailers);
      } else {
        receiver_->on_data({}, true);
      }
      return true;
    }
    case BodyReader::Event::kError: break;
  }
  state_ = State::kClosing;
  close_ = true;
  receiver_->on_bad_request(400, "http1.codec_error");
  return false;
}

void H1ServerCodec::refuse(uint16_t status, std::string_view detail) {
  partial_ = {};
  receiver_ = &owner_.new_stream(*this);
  response_started_ = chunked_ = head_request_ = http10_ = false;
  close_ = true;
  state_ = State::kClosing;
  receiver_->on_bad_request(status, detail);
}

void H1ServerCodec::reject_partial_head(uint16_t status, std::string_view detail) {
  if (state_ == State::kHead && !partial_.empty()) refuse(status, detail);
}

// Bytes for a tunnel that is not open are nobody's (CVE-2025-64763).
void H1ServerCodec::refuse_early_data() {
  RequestReceiver* receiver = std::exchange(receiver_, nullptr);
  state_ = State::kClosing;
  if (receiver) receiver->on_reset(ResetReason::kProtocolError, "http1.data_before_tunnel");
  owner_.on_codec_done();
}

void H1ServerCodec::receive_eof() {
  if (state_ == State::kTunnel && receiver_) return receiver_->on_data({}, true);
  connection_lost("downstream_remote_disconnect");
}

void H1ServerCodec::connection_lost(std::string_view detail) {
  // Half a head is a request too, for who reads the log.
  if (!receiver_ && state_ == State::kHead && !partial_.empty()) receiver_ = &owner_.new_stream(*this);
  RequestReceiver* receiver = std::exchange(receiver_, nullptr);
  state_ = State::kClosing;
  if (receiver) receiver->on_reset(ResetReason::kPeerClosed, detail);
  owner_.on_codec_done();
}

void H1ServerCodec::connection_writable() {
  if (receiver_) receiver_->on_writable();
  go_on_later();
}

void H1ServerCodec::go_on_later() {
  bool can = state_ == State::kHead && !pending_.empty() && !connection_.write_blocked();
  if (can && !linked()) connection_.loop().run_next_turn(*this);
}

void H1ServerCodec::set_reading(bool on) {
  stream_reading_ = on;
  update_reading();
}

void H1ServerCodec::update_reading() { connection_.set_reading(stream_reading_ && pending_.empty()); }

void H1ServerCodec::send_informational(const ResponseHead& head) {
  if (!receiver_ || http10_) return;
  connection_.write(encode_response(connection_.loop(), receiver_->arena(), head, BodyCoding::kAsIs, false, false));
}

void H1ServerCodec::send_response(const ResponseHead& head, bool end_stream) {
  if (!receiver_) return;
  response_started_ = true;
  if (state_ == State::kTunnelWait && !end_stream && opens_tunnel(!upgrade_.empty(), head.status)) {
    state_ = State::kTunnel;
    connection_.write(encode_tunnel_response(connection_.loop(), receiver_->arena(), head, upgrade_));
    return;
  }
  BodyCoding coding = BodyCoding::kAsIs;
  bool no_body = bodiless(head.status, head_request_);
  bool has_length = head.headers.has(HeaderId::kContentLength);
  if (!no_body && !has_length) {
    if (end_stream) {
      coding = BodyCoding::kZeroLength;
    } else if (http10_) {
      close_ = true;  // delimited by the end of the connection
    } else {
      coding = BodyCoding::kChunked;
      chunked_ = true;
    }
  }
  // ENVOY: an answer that begins before its request has ended announces the close that follows it.
  if (draining_ || state_ == State::kBody) close_ = true;
  if (contains_token(head.headers.get(HeaderId::kConnection), "close")) close_ = true;
  connection_.write(encode_response(connection_.loop(), receiver_->arena(), head, coding, close_, http10_ && !close_));
  if (end_stream) response_ended();
}

void H1ServerCodec::send_data(Bytes data, bool end_stream) {
  if (!receiver_) return;
  if (!head_request_ && !data.empty()) {
    if (chunked_) connection_.write(encode_chunk_size(connection_.loop(), receiver_->arena(), data.size()));
    connection_.write(data);
    if (chunked_) connection_.write(as_bytes(end_stream ? "\r\n0\r\n\r\n" : "\r\n"));
  } else if (chunked_ && end_stream) {
    connection_.write(as_bytes("0\r\n\r\n"));
  }
  if (end_stream) response_ended();
}

void H1ServerCodec::send_trailers(const HeaderMap& trailers) {
  if (!receiver_) return;
  if (chunked_) {
    connection_.write(as_bytes("0\r\n"));
    connection_.write(settings_.options.trailers ? encode_fields(connection_.loop(), receiver_->arena(), trailers)
                                                 : as_bytes("\r\n"));
  }
  response_ended();
}

void H1ServerCodec::response_ended() {
  receiver_ = nullptr;
  stream_reading_ = true;
  // ENVOY: a response that ends before its request leaves the rest of that request unread, and the connection closes.
  if (close_ || state_ != State::kWaiting) {
    state_ = State::kClosing;
    return owner_.on_codec_done();
  }
  state_ = State::kHead;
  go_on_later();
  update_reading();
}

void H1ServerCodec::consume_pending() {
  base::Chain work = std::move(pending_);
  while (!work.empty()) {
    Bytes block = work.front();
    size_t used = consume(block);
    connection_.loop().flush_writes();
    if (state_ == State::kClosing) return;
    work.drain(used);
    if (used < block.size()) break;
  }
  pending_ = std::move(work);
  go_on_later();
  update_reading();
}

void H1ServerCodec::reset(ResetReason) {
  receiver_ = nullptr;
  state_ = State::kClosing;
  // ENVOY: a response that was begun cannot be taken back in h1; the connection ends without the end of the message.
  owner_.on_codec_done();
}

}  // namespace pinnace::http::h1
