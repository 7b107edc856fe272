#include "filters/http/grpc_stats/grpc_stats.h"

namespace pinnace::filters::grpc_stats {

using filter::Next;
using http::HeaderId;

filter::HttpFilter* GrpcStatsConfig::create(filter::HttpStream& stream) const {
  return filter::make_in_arena<GrpcStats>(stream.arena(), stream, settings_);
}

std::string_view method_scope(std::string_view protocol, const http::GrpcMethod& method, bool replace_dots,
                              base::Arena& arena) {
  char* out = arena.take_chars(protocol.size() + method.service.size() + method.method.size() + 3);
  char* at = out;
  auto put = [&](std::string_view text) {
    at = std::copy(text.begin(), text.end(), at);
    *at++ = '.';
  };
  put(protocol);
  char* service = at;
  put(method.service);
  if (replace_dots) std::replace(service, at - 1, '.', '_');
  put(method.method);
  return {out, static_cast<size_t>(at - out)};
}

Next GrpcStats::on_request(bool end_stream) {
  const http::RequestHead& request = stream_.request();
  if (!http::is_grpc_type(request.headers.get(HeaderId::kContentType))) return Next::kContinue;
  auto method = http::grpc_method(request.path);
  if (!method) return Next::kContinue;
  scope_ = "grpc.";
  if (settings_.all_methods || settings_.few) {
    std::string_view named = method_scope("grpc", *method, settings_.replace_dots, stream_.arena());
    if (settings_.all_methods || settings_.few->contains(named)) scope_ = named;
  }
  if (end_stream) request_ended();
  return Next::kContinue;
}

upstream::Cluster* GrpcStats::cluster() const {
  return scope_.empty() ? nullptr : stream_.worker().clusters.find(stream_.info().cluster_id);
}

void GrpcStats::on_request_data(http::Bytes& data, bool end_stream) {
  if (scope_.empty()) return;
  if (end_stream) request_ended();
  uint32_t begun = sent_.count(data);
  if (begun == 0) return;
  if (auto* to = cluster()) to->grpc().request_messages(cells(), scope_, begun);
}

void GrpcStats::on_request_trailers(http::HeaderMap&) { request_ended(); }

Next GrpcStats::on_response_head(http::ResponseHead& head, bool end_stream) {
  if (scope_.empty()) return Next::kContinue;
  grpc_answer_ = http::is_grpc_response(head, end_stream);
  answered(head.headers, end_stream);
  return Next::kContinue;
}

Next GrpcStats::on_response_data(http::Bytes& data, bool) {
  if (!grpc_answer_) return Next::kContinue;
  uint32_t begun = received_.count(data);
  if (begun == 0) return Next::kContinue;
  if (auto* to = cluster()) to->grpc().response_messages(cells(), scope_, begun);
  return Next::kContinue;
}

void GrpcStats::on_response_trailers(http::HeaderMap& trailers, filter::Tail&) { answered(trailers, true); }

void GrpcStats::answered(const http::HeaderMap& fields, bool end_stream) {
  upstream::Cluster* to = cluster();
  if (!to) return;
  to->grpc().answered(cells(), scope_, fields.get(HeaderId::kGrpcStatus));
  const http::StreamInfo& info = stream_.info();
  bool from_upstream = info.details == "via_upstream";
  if (!end_stream || !settings_.upstream_time || !from_upstream || request_end_ns_ == 0) return;
  uint64_t sent_ns = std::max(info.upstream_sent_ns, request_end_ns_);
  to->grpc().took(cells(), scope_, (stream_.worker().loop.now_ns() - sent_ns) / 1000000);
}

}  // namespace pinnace::filters::grpc_stats
