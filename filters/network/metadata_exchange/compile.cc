#include "filters/network/metadata_exchange/compile.h"

#include "filters/network/metadata_exchange/exchange.h"
#include "istio/metadata_exchange.pb.h"

namespace pinnace::filters::metadata_exchange {
namespace {

class ExchangeConfig final : public net::PrologueConfig {
 public:
  explicit ExchangeConfig(ExchangeSettings settings)
      : settings_(std::make_shared<const ExchangeSettings>(std::move(settings))) {}
  std::unique_ptr<net::Prologue> make(stats::Cells& cells) const override {
    return std::make_unique<Exchange>(settings_, cells);
  }

 private:
  std::shared_ptr<const ExchangeSettings> settings_;
};

}  // namespace

Result<std::shared_ptr<const net::PrologueConfig>> compile(const google::protobuf::Any& any,
                                                           compile::Context& context) {
  envoy::tcp::metadataexchange::config::MetadataExchange proto;
  if (!any.UnpackTo(&proto)) return error("typed_config does not parse");
  // enable_discovery: peers by address need the bootstrap extension of ambient meshes; without it there are none.
  ExchangeSettings settings;
  settings.protocol = proto.protocol();
  settings.labels.insert(proto.additional_labels().begin(), proto.additional_labels().end());
  settings.ours = preamble_of(context.node, settings.labels);
  auto counter = [&](const char* leaf) { return context.stats.counter(std::string("metadata_exchange.") + leaf); };
  settings.stats = {.alpn_found = counter("alpn_protocol_found"),
                    .alpn_not_found = counter("alpn_protocol_not_found"),
                    .initial_header_not_found = counter("initial_header_not_found"),
                    .header_not_found = counter("header_not_found"),
                    .metadata_added = counter("metadata_added")};
  return std::shared_ptr<const net::PrologueConfig>(std::make_shared<ExchangeConfig>(std::move(settings)));
}

}  // namespace pinnace::filters::metadata_exchange
