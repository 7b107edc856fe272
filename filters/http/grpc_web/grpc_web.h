// envoy.filters.http.grpc_web: lets browsers call gRPC services (the PROTOCOL-WEB document of gRPC). A gRPC-Web request
// becomes a gRPC request; in its answer the trailers become a last frame of the body, flag 0x80, and for the "-text"
// types the body is base64. An answer that is not gRPC's, one of ours among them, becomes a status with a message.
// Counts cluster.<name>.grpc-web.<service>.<method>. Bounded: keeps a part of a base64 group, and kMostMessage of a
// foreign answer.
#pragma once

#include <vector>

#include "proxy/base/base64.h"
#include "proxy/filter/http_filter.h"
#include "proxy/http/grpc.h"

namespace pinnace::filters::grpc_web {

class GrpcWebConfig final : public filter::HttpFilterConfig {
 public:
  filter::HttpFilter* create(filter::HttpStream& stream) const override;
};

class GrpcWeb final : public filter::HttpFilter {
 public:
  explicit GrpcWeb(filter::HttpStream& stream) : stream_(stream), message_(stream.worker().loop.blocks()) {}

  filter::Next on_request(bool end_stream) override;
  void on_request_data(http::Bytes& data, bool end_stream) override;
  filter::Next on_response_head(http::ResponseHead& head, bool end_stream) override;
  filter::Next on_response_data(http::Bytes& data, bool end_stream) override;
  void on_response_trailers(http::HeaderMap& trailers, filter::Tail& tail) override;

 private:
  static constexpr size_t kMostMessage = 16 * 1024;  // ENVOY

  void count(const http::HeaderMap& fields);
  // The foreign answer's body goes into its head.
  void finish_foreign();
  void refuse(std::string_view details);
  // Bytes that last until the dispatch ends.
  uint8_t* memory(size_t size);

  filter::HttpStream& stream_;
  std::string_view scope_;  // of its counters
  bool web_ = false;        // the rest is for such requests only
  bool text_request_ = false, text_answer_ = false;
  http::ResponseHead* foreign_ = nullptr;  // held: the head of an answer that is not gRPC's
  base::Chain message_;                    // the beginning of its body
  base::Base64Decoder decoder_;
  base::Base64Encoder encoder_;
  http::GrpcFrames frames_;
  std::vector<uint8_t> spare_;  // where the turn's memory does not do
};

}  // namespace pinnace::filters::grpc_web
