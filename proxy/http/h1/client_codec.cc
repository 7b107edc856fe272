#include "proxy/http/h1/client_codec.h"

#include "proxy/http/h1/encoder.h"

namespace pinnace::http::h1 {

RequestSender& H1ClientCodec::new_stream(ResponseReceiver& receiver) {
  receiver_ = &receiver;
  state_ = State::kHead;
  chunked_ = request_done_ = head_request_ = tunnel_wanted_ = upgrade_wanted_ = false;
  keep_alive_ = true;
  return *this;
}

void H1ClientCodec::send_request(const RequestHead& head, bool end_stream) {
  BodyCoding coding = BodyCoding::kAsIs;
  head_request_ = head.method == "HEAD";
  tunnel_wanted_ = head.wants_tunnel();
  upgrade_wanted_ = !head.upgrade.empty();
  if (!head.headers.has(HeaderId::kContentLength) && !tunnel_wanted_) {
    if (!end_stream) {
      coding = BodyCoding::kChunked;
      chunked_ = true;
    } else if (head.method != "GET" && head.method != "HEAD" && head.method != "DELETE" && head.method != "TRACE" &&
               head.method != "CONNECT") {
      coding = BodyCoding::kZeroLength;
    }
  }
  connection_.write(encode_request(connection_.loop(), receiver_->arena(), head, coding));
  if (end_stream) request_sent();
}

void H1ClientCodec::send_data(Bytes data, bool end_stream) {
  if (!receiver_) return;
  if (!data.empty()) {
    if (chunked_) connection_.write(encode_chunk_size(connection_.loop(), receiver_->arena(), data.size()));
    connection_.write(data);
    if (chunked_) connection_.write(as_bytes(end_stream ? "\r\n0\r\n\r\n" : "\r\n"));
  } else if (chunked_ && end_stream) {
    connection_.write(as_bytes("0\r\n\r\n"));
  }
  if (end_stream && state_ == State::kTunnel) connection_.shutdown_write();
  if (end_stream) request_sent();
}

void H1ClientCodec::send_trailers(const HeaderMap& trailers) {
  if (!receiver_) return;
  if (chunked_) {
    connection_.write(as_bytes("0\r\n"));
    connection_.write(settings_.options.trailers ? encode_fields(connection_.loop(), receiver_->arena(), trailers)
                                                 : as_bytes("\r\n"));
  }
  request_sent();
}

void H1ClientCodec::reset(ResetReason) {
  receiver_ = nullptr;
  state_ = State::kBroken;
  owner_.on_stream_end(false);
}

void H1ClientCodec::receive(Bytes in) {
  bool more = true;
  while (more && !in.empty()) {
    switch (state_) {
      case State::kHead: more = take_head(in); break;
      case State::kBody: more = take_body(in); break;
      case State::kTunnel: return receiver_->on_data(in, false);
      case State::kIdle:  // bytes nobody asked for
        state_ = State::kBroken;
        return owner_.on_draining();
      case State::kBroken: return;
    }
  }
}

bool H1ClientCodec::take_head(Bytes& in) {
  std::string_view text{reinterpret_cast<const char*>(in.data()), in.size()};
  if (partial_.empty()) {
    size_t scanned = 0;
    size_t end = find_head_end(text, scanned);
    if (end > 0) {
      in = in.subspan(end);
      extra_ = !in.empty();
      return begin(text.substr(0, end));
    }
    scanned_ = scanned;
    partial_ = text;
  } else {
    size_t before = partial_.size();
    partial_.append(text);
    size_t end = find_head_end(partial_, scanned_);
    if (end > 0) {
      in = in.subspan(end - before);
      extra_ = !in.empty();
      std::string whole = std::move(partial_);
      partial_ = {};
      return begin(std::string_view(whole).substr(0, end));
    }
  }
  in = {};
  if (partial_.size() > settings_.max_head_bytes) broken(ResetReason::kProtocolError, "");
  return false;
}

bool H1ClientCodec::begin(std::string_view head) {
  if (head.size() > settings_.max_head_bytes) {
    broken(ResetReason::kProtocolError, "");
    return false;
  }
  char* copy = receiver_->arena().take_chars(head.size());
  std::memcpy(copy, head.data(), head.size());
  ResponseHead& response = receiver_->next_response();
  if (settings_.options.preserve_case) response.headers.keep_spelling(head);
  HeadResult result = parse_response(copy, head.size(), settings_.limits, head_request_, response);
  if (result.error != HeadError::kNone) {
    broken(ResetReason::kProtocolError, "");
    return false;
  }
  if (tunnel_wanted_ && opens_tunnel(upgrade_wanted_, response.status)) {
    // Only the answer that was asked for opens it (CVE-2024-23326). RFC 9110 9.3.6: no framing fields.
    response.headers.remove(HeaderId::kContentLength);
    response.headers.remove(HeaderId::kTransferEncoding);
    state_ = State::kTunnel;
    receiver_->on_response(response, false);
    return state_ == State::kTunnel;
  }
  if (response.status == 101) {
    broken(ResetReason::kProtocolError, "");
    return false;
  }
  if (response.status < 200) {
    receiver_->on_informational(response);
    return receiver_ != nullptr;
  }
  if (response.status == 204) response.headers.remove(HeaderId::kContentLength);  // RFC 9110 8.6
  keep_alive_ = result.info.keep_alive;
  body_.start(result.info);
  bool end = result.info.framing == Framing::kNone;
  state_ = State::kBody;
  ResponseReceiver* receiver = receiver_;
  if (end) response_ended();
  receiver->on_response(response, end);
  return state_ == State::kBody;
}

bool H1ClientCodec::take_body(Bytes& in) {
  Bytes data;
  ResponseReceiver* receiver = receiver_;
  auto event = body_.next(in, data);
  extra_ = !in.empty();
  switch (event) {
    case BodyReader::Event::kNeedMore: return false;
    case BodyReader::Event::kData: {
      bool end = body_.framing() == Framing::kLength && body_.left() == 0;
      if (end) response_ended();
      receiver->on_data(data, end);
      return state_ == State::kBody;
    }
    case BodyReader::Event::kDone:
      response_ended();
      receiver->on_data({}, true);
      return true;
    case BodyReader::Event::kTrailers: {
      HeaderMap& trailers = receiver->response_trailers();
      std::string& raw = body_.trailers();
      char* copy = receiver->arena().take_chars(raw.size());
      std::memcpy(copy, raw.data(), raw.size());
      if (parse_trailers(copy, raw.size(), settings_.limits, trailers).error != HeadError::kNone) break;
      response_ended();
      if (settings_.options.trailers) {
        receiver->on_trailers(trailers);
      } else {
        receiver->on_data({}, true);
      }
      return true;
    }
    case BodyReader::Event::kError: break;
  }
  broken(ResetReason::kProtocolError, "");
  return false;
}

// The connection goes back to its pool before the receiver hears of the end, so that what the receiver starts next may
// use it again.
void H1ClientCodec::response_ended() {
  receiver_ = nullptr;
  // Bytes after the end belong to no request (response splitting): the connection is not used again.
  bool reusable = keep_alive_ && request_done_ && !extra_ && !tunnel_wanted_;
  state_ = reusable ? State::kIdle : State::kBroken;
  connection_.set_reading(true);
  owner_.on_stream_end(reusable);
}

void H1ClientCodec::broken(ResetReason reason, std::string_view detail) {
  state_ = State::kBroken;
  ResponseReceiver* receiver = std::exchange(receiver_, nullptr);
  owner_.on_stream_end(false);
  if (receiver) receiver->on_reset(reason, detail);
}

void H1ClientCodec::receive_eof() {
  if (state_ == State::kBody && body_.framing() == Framing::kUntilClose) {
    ResponseReceiver* receiver = receiver_;
    keep_alive_ = false;
    response_ended();
    return receiver->on_data({}, true);
  }
  if (state_ == State::kTunnel && receiver_) {
    ResponseReceiver* receiver = receiver_;
    response_ended();
    return receiver->on_data({}, true);
  }
  // ENVOY: FIN before the first byte is a termination; in the middle of a message it is a protocol error.
  bool mid_message = state_ == State::kBody || !partial_.empty();
  connection_lost(mid_message ? ResetReason::kProtocolError : ResetReason::kPeerClosed, "");
}

void H1ClientCodec::connection_lost(ResetReason reason, std::string_view detail) {
  if (state_ == State::kBody || !partial_.empty()) reason = ResetReason::kProtocolError;
  detail = {};
  if (receiver_) return broken(reason, detail);
  if (state_ != State::kBroken) {
    state_ = State::kBroken;
    owner_.on_draining();
  }
}

}  // namespace pinnace::http::h1
