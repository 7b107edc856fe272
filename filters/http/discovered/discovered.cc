#include "filters/http/discovered/discovered.h"

namespace pinnace::filters::discovered {
namespace {

using filter::HttpFilter;
using filter::HttpStream;
using filter::Next;

class Nothing final : public HttpFilter {};

class NothingConfig final : public filter::HttpFilterConfig {
  HttpFilter* create(HttpStream& stream) const override { return filter::make_in_arena<Nothing>(stream.arena()); }
};

class Missing final : public HttpFilter {
 public:
  explicit Missing(HttpStream& stream) : stream_(stream) {}
  Next on_request(bool) override {
    stream_.local_reply({500, "", "no_filter_config_found", http::flag_bit(http::Flag::kNoFilterConfigFound)});
    return Next::kHold;
  }

 private:
  HttpStream& stream_;
};

// The filter that came, and a pin on its configuration.
class Discovered final : public HttpFilter {
 public:
  Discovered(filter::ExtensionRef config, HttpStream& stream)
      : config_(std::move(config)), inner_(config_->create(stream)) {}
  ~Discovered() override { inner_->~HttpFilter(); }

  Next on_request(bool end_stream) override { return inner_->on_request(end_stream); }
  void on_request_data(http::Bytes& data, bool end_stream) override { inner_->on_request_data(data, end_stream); }
  void on_request_trailers(http::HeaderMap& trailers) override { inner_->on_request_trailers(trailers); }
  Next on_response_head(http::ResponseHead& head, bool end_stream) override {
    return inner_->on_response_head(head, end_stream);
  }
  Next on_response_data(http::Bytes& data, bool end_stream) override {
    return inner_->on_response_data(data, end_stream);
  }
  void on_response_trailers(http::HeaderMap& trailers, filter::Tail& tail) override {
    inner_->on_response_trailers(trailers, tail);
  }
  void on_response_writable() override { inner_->on_response_writable(); }
  void on_destroy() override { inner_->on_destroy(); }
  void on_log() override { inner_->on_log(); }

 private:
  filter::ExtensionRef config_;
  HttpFilter* inner_;
};

}  // namespace

HttpFilter* DiscoveredConfig::create(HttpStream& stream) const {
  if (auto config = stream.worker().extensions.find(id_)) {
    return filter::make_in_arena<Discovered>(stream.arena(), std::move(config), stream);
  }
  if (otherwise_) return otherwise_->create(stream);
  return filter::make_in_arena<Missing>(stream.arena(), stream);
}

std::shared_ptr<const filter::HttpFilterConfig> nothing() {
  static const auto made = std::make_shared<NothingConfig>();
  return made;
}

}  // namespace pinnace::filters::discovered
