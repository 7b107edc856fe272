// envoy.filters.http.compressor: puts an answer's body into the content coding that the client wants most of those that
// the chain's compressors have. Several of them, one for each coding, decide together. What is coded already, is small,
// of another type, or marked no-transform passes as it is. Bounded: holds what one piece of the body became.
// UNLIKE ENVOY: answers only; compressing requests is refused where it is configured.
#pragma once

#include <set>
#include <string>

#include "filters/http/compressor/encoder.h"
#include "filters/http/compressor/encoding.h"
#include "proxy/filter/http_filter.h"
#include "proxy/stats/store.h"

namespace pinnace::filters::compressor {

// http.<stat_prefix>.compressor.<library>.<coding>.*
struct CompressorStats {
  stats::Counter no_accept_header, header_identity, header_wildcard, header_not_valid, header_used, header_overshadowed;
  stats::Counter not_compressed_etag, compressed, not_compressed, too_small, uncompressed_bytes, compressed_bytes;
};

struct CompressorSettings {
  std::shared_ptr<const Coding> coding;
  bool enabled = true;                               // common_config.enabled
  uint64_t min_content_length = 30;                  // common_config.min_content_length
  std::set<std::string, std::less<>> content_types;  // common_config.content_type, lower case
  bool disable_on_etag = false;                      // disable_on_etag_header
  bool remove_accept_encoding = false;               // remove_accept_encoding_header
  std::set<uint32_t> uncompressible_codes;           // uncompressible_response_codes
  CompressorStats stats;
};

class CompressorConfig final : public filter::HttpFilterConfig {
 public:
  explicit CompressorConfig(CompressorSettings settings) : settings_(std::move(settings)) {}
  filter::HttpFilter* create(filter::HttpStream& stream) const override;

 private:
  CompressorSettings settings_;
};

class Compressor;

// The stream's compressors in the order in which the request passed them, and what the client says it takes.
struct Candidates {
  static constexpr size_t kMost = 8;  // more of them in one chain do not compete

  void add(Compressor& compressor);
  // ENVOY: only those that would take this type of answer compete.
  Choice choose(const http::HeaderMap& headers) const;

  Compressor* first = nullptr;
  Compressor* last = nullptr;
  std::string_view accept;
  bool has_accept = false;
};

class Compressor final : public filter::HttpFilter {
 public:
  Compressor(filter::HttpStream& stream, const CompressorSettings& settings) : stream_(stream), settings_(settings) {}

  filter::Next on_request(bool end_stream) override;
  filter::Next on_response_head(http::ResponseHead& head, bool end_stream) override;
  filter::Next on_response_data(http::Bytes& data, bool end_stream) override;
  void on_response_trailers(http::HeaderMap& trailers, filter::Tail& tail) override;

 private:
  bool large_enough(const http::HeaderMap& headers);
  bool type_fits(const http::HeaderMap& headers) const;
  bool compressible(const http::ResponseHead& head);
  // The client wants this filter's coding most.
  bool wanted(const http::HeaderMap& headers);
  void begin(http::HeaderMap& headers);
  // False: the library failed, and the stream has been broken off.
  bool encode(http::Bytes data, bool end);
  // What encode() made, as long as writes may borrow it.
  http::Bytes lend();
  stats::Cells& cells() { return stream_.worker().loop.cells(); }

  filter::HttpStream& stream_;
  const CompressorSettings& settings_;
  friend Candidates;
  filter::FilterState::Slot<Candidates> candidates_;
  Compressor* next_ = nullptr;        // the compressor after this one on the request's way
  std::unique_ptr<Encoder> encoder_;  // set: the body is being coded
  std::vector<uint8_t> out_;          // what the last piece became
  bool lent_ = false;                 // writes of this turn may borrow out_
};

}  // namespace pinnace::filters::compressor
