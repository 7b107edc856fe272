#include "xds_client/compile/http1.h"

#include "envoy/extensions/http/header_formatters/preserve_case/v3/preserve_case.pb.h"
#include "xds_client/compile/common.h"

namespace pinnace::compile {

Result<bool> http1_options(const envoy::config::core::v3::Http1ProtocolOptions& proto, model::Http1Options& out) {
  out.trailers = proto.enable_trailers();
  if (!proto.has_header_key_format()) return true;
  auto known = only_fields(proto.header_key_format(), {"stateful_formatter"});
  if (!known) return in("header_key_format", known.error());
  const auto& any = proto.header_key_format().stateful_formatter().typed_config();
  envoy::extensions::http::header_formatters::preserve_case::v3::PreserveCaseFormatterConfig config;
  std::string place = "header_key_format.stateful_formatter.typed_config";
  if (!any.UnpackTo(&config)) return error(place + " (" + any.type_url() + "): not supported by pinnace");
  known = only_fields(config, {});
  if (!known) return in(place, known.error());
  out.preserve_case = true;
  return true;
}

}  // namespace pinnace::compile
