#include "filters/http/compressor/compressor.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace pinnace::filters::compressor {

using filter::Next;
using http::HeaderId;

void Candidates::add(Compressor& compressor) {
  (last ? last->next_ : first) = &compressor;
  last = &compressor;
}

Choice Candidates::choose(const http::HeaderMap& headers) const {
  std::array<std::string_view, kMost> offered;
  size_t n = 0;
  for (const Compressor* each = first; each && n < kMost; each = each->next_) {
    if (each->type_fits(headers)) offered[n++] = each->settings_.coding->name();
  }
  return compressor::choose(accept, {offered.data(), n});
}

namespace {

// One value of all fields of that name, as text.
std::string_view value_of(const http::HeaderMap& headers, std::string_view name) {
  const http::Header* field = headers.find(name);
  return field ? field->value : std::string_view();
}

bool has_no_transform(const http::HeaderMap& headers, base::Arena& arena) {
  std::string_view value;
  return headers.joined("cache-control", arena, value) && http::contains_token(value, "no-transform");
}

// A strong validator is of the bytes as the origin sent them (RFC 9110 8.8.1).
void drop_strong_etag(http::HeaderMap& headers) {
  std::string_view etag = value_of(headers, "etag");
  bool weak = etag.size() > 2 && (etag[0] == 'W' || etag[0] == 'w') && etag[1] == '/';
  if (!etag.empty() && !weak) headers.remove("etag");
}

// A cache must not give this answer to who asks for another coding (RFC 9110 12.5.5).
void add_vary(http::HeaderMap& headers, base::Arena& arena) {
  static constexpr std::string_view kName = "Accept-Encoding";
  std::string_view vary;
  if (!headers.joined("vary", arena, vary) || vary.empty()) return headers.set("vary", kName);
  if (vary.find(kName) != std::string_view::npos) return;
  char* text = arena.take_chars(vary.size() + 2 + kName.size());
  char* at = std::copy(vary.begin(), vary.end(), text);
  *at++ = ',';
  *at++ = ' ';
  at = std::copy(kName.begin(), kName.end(), at);
  headers.set("vary", {text, static_cast<size_t>(at - text)});
}

}  // namespace

filter::HttpFilter* CompressorConfig::create(filter::HttpStream& stream) const {
  return filter::make_in_arena<Compressor>(stream.arena(), stream, settings_);
}

Next Compressor::on_request(bool) {
  auto& candidates = stream_.state().find_or_leave(candidates_);
  candidates.add(*this);
  http::HeaderMap& headers = stream_.request().headers;
  std::string_view accept;
  if (!candidates.has_accept && headers.joined("accept-encoding", stream_.arena(), accept)) {
    candidates.has_accept = true;
    candidates.accept = accept;
  }
  if (settings_.enabled && settings_.remove_accept_encoding) headers.remove("accept-encoding");
  return Next::kContinue;
}

bool Compressor::large_enough(const http::HeaderMap& headers) {
  if (!settings_.enabled) return false;
  if (!headers.has(HeaderId::kContentLength)) return true;
  std::string_view text = headers.get(HeaderId::kContentLength);
  uint64_t length = 0;
  std::from_chars(text.data(), text.data() + text.size(), length);
  if (length >= settings_.min_content_length) return true;
  cells().add(settings_.stats.too_small);
  return false;
}

bool Compressor::type_fits(const http::HeaderMap& headers) const {
  if (!headers.has(HeaderId::kContentType)) return true;  // ENVOY
  std::string_view type = headers.get(HeaderId::kContentType);
  type = http::trim(type.substr(0, type.find(';')));
  char lower[128];
  if (type.size() > sizeof lower) return false;
  std::transform(type.begin(), type.end(), lower, [](char c) { return c >= 'A' && c <= 'Z' ? char(c | 0x20) : c; });
  return settings_.content_types.contains(std::string_view(lower, type.size()));
}

bool Compressor::wanted(const http::HeaderMap& headers) {
  const Candidates* candidates = stream_.state().find<Candidates>();
  const CompressorStats& stats = settings_.stats;
  if (!candidates || !candidates->has_accept) {
    cells().add(stats.no_accept_header);
    return false;
  }
  Choice choice = candidates->choose(headers);
  bool ours = choice.coding == settings_.coding->name();
  switch (choice.why) {
    case Choice::Why::kNotValid: cells().add(stats.header_not_valid); break;
    case Choice::Why::kIdentity: cells().add(stats.header_identity); break;
    case Choice::Why::kWildcard: cells().add(stats.header_wildcard); break;
    case Choice::Why::kNamed: cells().add(ours ? stats.header_used : stats.header_overshadowed); break;
  }
  return ours;
}

bool Compressor::compressible(const http::ResponseHead& head) {
  const http::HeaderMap& headers = head.headers;
  if (head.status == 101 || settings_.uncompressible_codes.contains(head.status)) return false;
  if (!type_fits(headers) || has_no_transform(headers, stream_.arena())) return false;
  if (settings_.disable_on_etag && headers.find("etag")) {
    cells().add(settings_.stats.not_compressed_etag);
    return false;
  }
  return !headers.find("content-encoding");
}

Next Compressor::on_response_head(http::ResponseHead& head, bool end_stream) {
  bool large = large_enough(head.headers);
  bool can = large && compressible(head);
  if (large && !end_stream && wanted(head.headers) && can && (encoder_ = settings_.coding->make())) {
    begin(head.headers);
  } else {
    cells().add(settings_.stats.not_compressed);
  }
  if (can) add_vary(head.headers, stream_.arena());
  return Next::kContinue;
}

void Compressor::begin(http::HeaderMap& headers) {
  drop_strong_etag(headers);
  headers.remove(HeaderId::kContentLength);
  headers.set("content-encoding", settings_.coding->name());
  cells().add(settings_.stats.compressed);
}

bool Compressor::encode(http::Bytes data, bool end) {
  if (std::exchange(lent_, false)) stream_.worker().loop.flush_writes();
  out_.clear();
  cells().add(settings_.stats.uncompressed_bytes, data.size());
  if (!encoder_->add(data, end, out_)) {
    filter::LocalReply reply{500, {}, "compressor_failed"};
    stream_.local_reply(reply);
    return false;
  }
  cells().add(settings_.stats.compressed_bytes, out_.size());
  return true;
}

http::Bytes Compressor::lend() {
  if (uint8_t* at = stream_.worker().loop.turn_memory(out_.size()))
    return {at, std::copy(out_.begin(), out_.end(), at)};
  lent_ = true;
  return out_;
}

Next Compressor::on_response_data(http::Bytes& data, bool end_stream) {
  if (!encoder_ || (data.empty() && !end_stream)) return Next::kContinue;
  if (!encode(data, end_stream)) return Next::kContinue;
  data = lend();
  return Next::kContinue;
}

void Compressor::on_response_trailers(http::HeaderMap&, filter::Tail& tail) {
  if (encoder_ && encode({}, true)) tail.before = lend();
}

}  // namespace pinnace::filters::compressor
