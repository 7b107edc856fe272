#include "filters/http/compressor/compile.h"

#include <algorithm>

#include "envoy/extensions/filters/http/compressor/v3/compressor.pb.h"
#include "filters/http/compressor/compressor.h"

namespace pinnace::filters::compressor {
namespace {

namespace pb = envoy::extensions::filters::http::compressor::v3;
using google::protobuf::Any;

struct Library {
  const char* type;
  Result<std::shared_ptr<const Coding>> (*compile)(const Any&);
};
constexpr Library kLibraries[] = {
    {"envoy.extensions.compression.brotli.compressor.v3.Brotli", compile_brotli},
    {"envoy.extensions.compression.gzip.compressor.v3.Gzip", compile_gzip},
    {"envoy.extensions.compression.zstd.compressor.v3.Zstd", compile_zstd},
};

// ENVOY: what is compressed when no type is named.
constexpr const char* kDefaultTypes[] = {"application/ecmascript",
                                         "application/grpc-web",
                                         "application/javascript",
                                         "application/json",
                                         "application/x-javascript",
                                         "application/x-json",
                                         "application/xhtml+xml",
                                         "application/xml",
                                         "image/svg+xml",
                                         "text/css",
                                         "text/ecmascript",
                                         "text/html",
                                         "text/javascript",
                                         "text/js",
                                         "text/jscript",
                                         "text/plain",
                                         "text/x-javascript",
                                         "text/x-js",
                                         "text/xml"};

Result<std::shared_ptr<const Coding>> library(const envoy::config::core::v3::TypedExtensionConfig& proto) {
  std::string type = proto.typed_config().type_url();
  type = type.substr(type.rfind('/') + 1);
  for (const Library& each : kLibraries) {
    if (type == each.type) return each.compile(proto.typed_config());
  }
  return error(type + ": not supported by pinnace");
}

bool enabled(const envoy::config::core::v3::RuntimeFeatureFlag& flag, const compile::Context& context) {
  return context.runtime.boolean(flag.runtime_key()).value_or(flag.default_value().value());
}

template <class Types>
void set_types(const Types& types, CompressorSettings& out) {
  for (std::string type : types) {
    std::transform(type.begin(), type.end(), type.begin(), [](unsigned char c) { return std::tolower(c); });
    out.content_types.insert(std::move(type));
  }
  if (out.content_types.empty()) out.content_types.insert(std::begin(kDefaultTypes), std::end(kDefaultTypes));
}

Result<bool> responses(const pb::Compressor::ResponseDirectionConfig& proto, CompressorSettings& out,
                       compile::Context& context) {
  auto known = compile::only_fields(proto, {"common_config", "disable_on_etag_header", "remove_accept_encoding_header",
                                            "uncompressible_response_codes"});
  if (!known) return known.error();
  const auto& common = proto.common_config();
  if (common.has_enabled()) out.enabled = enabled(common.enabled(), context);
  if (common.has_min_content_length()) out.min_content_length = common.min_content_length().value();
  set_types(common.content_type(), out);
  out.disable_on_etag = proto.disable_on_etag_header();
  out.remove_accept_encoding = proto.remove_accept_encoding_header();
  for (uint32_t code : proto.uncompressible_response_codes()) out.uncompressible_codes.insert(code);
  return true;
}

// The deprecated fields of the message itself, which hold where there is no response_direction_config.
void flat(const pb::Compressor& proto, CompressorSettings& out, compile::Context& context) {
  if (proto.has_runtime_enabled()) out.enabled = enabled(proto.runtime_enabled(), context);
  if (proto.has_content_length()) out.min_content_length = proto.content_length().value();
  set_types(proto.content_type(), out);
  out.disable_on_etag = proto.disable_on_etag_header();
  out.remove_accept_encoding = proto.remove_accept_encoding_header();
}

CompressorStats make_stats(const std::string& prefix, bool by_direction, stats::Store& store) {
  auto counter = [&](const char* leaf) { return store.counter(prefix + leaf); };
  auto response = [&](const char* leaf) { return store.counter(prefix + (by_direction ? "response." : "") + leaf); };
  return {.no_accept_header = counter("no_accept_header"),
          .header_identity = counter("header_identity"),
          .header_wildcard = counter("header_wildcard"),
          .header_not_valid = counter("header_not_valid"),
          .header_used = counter("header_compressor_used"),
          .header_overshadowed = counter("header_compressor_overshadowed"),
          .not_compressed_etag = counter("not_compressed_etag"),
          .compressed = response("compressed"),
          .not_compressed = response("not_compressed"),
          .too_small = response("content_length_too_small"),
          .uncompressed_bytes = response("total_uncompressed_bytes"),
          .compressed_bytes = response("total_compressed_bytes")};
}

}  // namespace

Result<std::shared_ptr<const filter::HttpFilterConfig>> compile(const Any& any, compile::Context& context) {
  pb::Compressor proto;
  if (!any.UnpackTo(&proto)) return error("typed_config does not parse");
  auto known = compile::only_fields(
      proto, {"content_length", "content_type", "disable_on_etag_header", "remove_accept_encoding_header",
              "runtime_enabled", "compressor_library", "response_direction_config"});
  if (!known) return known.error();
  CompressorSettings settings;
  auto coding = library(proto.compressor_library());
  if (!coding) return compile::in("compressor_library", coding.error());
  settings.coding = std::move(*coding);
  if (proto.has_response_direction_config()) {
    auto done = responses(proto.response_direction_config(), settings, context);
    if (!done) return compile::in("response_direction_config", done.error());
  } else {
    flat(proto, settings, context);
  }
  std::string prefix = "http." + context.stat_prefix + ".compressor." + proto.compressor_library().name() + "." +
                       std::string(settings.coding->stat_name()) + ".";
  settings.stats = make_stats(prefix, proto.has_response_direction_config(), context.stats);
  return std::shared_ptr<const filter::HttpFilterConfig>(std::make_shared<CompressorConfig>(std::move(settings)));
}

}  // namespace pinnace::filters::compressor
