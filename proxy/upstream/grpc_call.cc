#include "proxy/upstream/grpc_call.h"

#include <charconv>

namespace pinnace::upstream {
namespace {

std::string_view reason_text(http::ResetReason reason) {
  switch (reason) {
    case http::ResetReason::kPeerReset: return "the connection broke";
    case http::ResetReason::kPeerClosed: return "the connection was closed";
    case http::ResetReason::kProtocolError: return "the server broke the protocol";
    case http::ResetReason::kRemoteStream: return "the server reset the stream";
    case http::ResetReason::kRefused: return "the server refused the stream";
    case http::ResetReason::kConnectFailed: return "no connection";
    case http::ResetReason::kConnectTimeout: return "connect timeout";
    case http::ResetReason::kTlsFailed: return "TLS failed";
    case http::ResetReason::kOverflow: return "a circuit breaker is open";
    case http::ResetReason::kLocal: return "given up";
  }
  return "";
}

// grpc-message, percent-decoded.
std::string message_text(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); i++) {
    unsigned byte = 0;
    bool coded = text[i] == '%' && i + 2 < text.size() &&
                 std::from_chars(text.data() + i + 1, text.data() + i + 3, byte, 16).ptr == text.data() + i + 3;
    out += coded ? static_cast<char>(byte) : text[i];
    if (coded) i += 2;
  }
  return out;
}

}  // namespace

GrpcCall::GrpcCall(Cluster& cluster, std::string path, Events& events)
    : loop_(cluster.loop()),
      path_(std::move(path)),
      authority_(cluster.config()->name),
      events_(&events),
      arena_(loop_.blocks()),
      request_(arena_),
      trailers_(arena_) {}

GrpcCall::~GrpcCall() = default;

GrpcCall& GrpcCall::start(Cluster& cluster, std::string path, Events& events) {
  auto* call = new GrpcCall(cluster, std::move(path), events);
  call->connect(cluster);
  return *call;
}

void GrpcCall::end(GrpcCall& call) {
  call.events_ = nullptr;
  if (HttpPool* pool = std::exchange(call.pool_, nullptr)) pool->cancel(call);
  if (http::RequestSender* sender = std::exchange(call.sender_, nullptr)) sender->reset(http::ResetReason::kLocal);
  call.let_go_of_host();
  call.loop_.destroy_later(std::unique_ptr<base::Deferred>(&call));
}

void GrpcCall::connect(Cluster& cluster) {
  host_ = cluster.pick({}).host;
  if (!host_) return close(kUnavailable, "no healthy upstream in cluster " + authority_);
  host_->active_requests++;
  host_->total_requests++;
  pool_ = &pool_of(cluster, *host_, {.protocol = PoolProtocol::kHttp2});
  pool_->request(*this);
}

void GrpcCall::on_pool_ready(http::RequestSender& sender, const net::Connection&, bool) {
  pool_ = nullptr;
  sender_ = &sender;
  request_.method = "POST";
  request_.scheme = "http";
  request_.path = path_;
  request_.authority = authority_;
  request_.headers.add(http::HeaderId::kTe, "trailers");
  request_.headers.add(http::HeaderId::kContentType, "application/grpc");
  sender.send_request(request_, false);
  flush();
}

void GrpcCall::on_pool_failure(http::ResetReason reason, std::string_view detail) {
  pool_ = nullptr;
  std::string why(reason_text(reason));
  close(kUnavailable, detail.empty() ? why : why + ": " + std::string(detail));
}

void GrpcCall::send(std::string_view message) {
  std::string framed(1, '\0');
  for (int shift = 24; shift >= 0; shift -= 8) framed.push_back(static_cast<char>(message.size() >> shift));
  outgoing_.push_back(framed.append(message));
  unsent_ += outgoing_.back().size();
  flush();
}

// HTTP/2's codec has made frames of what it was given, or copied it, when it returns.
void GrpcCall::flush() {
  while (sender_ && !outgoing_.empty() && !sender_->blocked()) {
    std::string next = std::move(outgoing_.front());  // the stream may end in send_data(), and close() clears the queue
    outgoing_.pop_front();
    unsent_ -= next.size();
    sender_->send_data({reinterpret_cast<const uint8_t*>(next.data()), next.size()}, false);
  }
}

http::ResponseHead& GrpcCall::next_response() {
  return *new (arena_.take(sizeof(http::ResponseHead), alignof(http::ResponseHead))) http::ResponseHead(arena_);
}

void GrpcCall::on_response(http::ResponseHead& head, bool end_stream) {
  if (end_stream) return finish(head.headers);
  if (head.status != 200) {
    close(kUnavailable, "HTTP status " + std::to_string(head.status));
  }
}

void GrpcCall::on_data(http::Bytes data, bool end_stream) {
  while (events_ && !data.empty()) {
    size_t more = std::min(wanted_ - incoming_.size(), data.size());
    incoming_.append(reinterpret_cast<const char*>(data.data()), more);
    data = data.subspan(more);
    if (incoming_.size() < wanted_) break;
    if (wanted_ == kPrefix) {
      if (incoming_[0] != 0) return close(kInternal, "a compressed message, which was not asked for");
      size_t length = 0;
      for (size_t i = 1; i < kPrefix; i++) length = length << 8 | static_cast<uint8_t>(incoming_[i]);
      wanted_ += length;
      if (length > 0) continue;
    }
    events_->on_message(incoming_.substr(kPrefix));
    incoming_.clear();
    wanted_ = kPrefix;
  }
  if (end_stream && events_) close(kUnknown, "the stream ended without a status");
}

void GrpcCall::finish(const http::HeaderMap& trailers) {
  int status = kUnknown;
  std::string_view text = trailers.get(http::HeaderId::kGrpcStatus);
  std::from_chars(text.data(), text.data() + text.size(), status);
  sender_ = nullptr;  // the codec lets it go
  close(status, message_text(trailers.get(http::HeaderId::kGrpcMessage)));
}

void GrpcCall::on_reset(http::ResetReason reason, std::string_view detail) {
  sender_ = nullptr;
  std::string why(reason_text(reason));
  close(kUnavailable, detail.empty() ? why : why + ": " + std::string(detail));
}

void GrpcCall::let_go_of_host() {
  if (!host_) return;
  host_->active_requests--;
  host_ = nullptr;
}

void GrpcCall::close(int status, std::string why) {
  let_go_of_host();
  if (http::RequestSender* sender = std::exchange(sender_, nullptr)) sender->reset(http::ResetReason::kLocal);
  outgoing_.clear();
  unsent_ = 0;
  if (Events* events = std::exchange(events_, nullptr)) events->on_closed(status, std::move(why));
}

}  // namespace pinnace::upstream
