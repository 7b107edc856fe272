#include "filters/access_loggers/compile.h"

#include "envoy/extensions/access_loggers/file/v3/file.pb.h"
#include "envoy/extensions/access_loggers/stream/v3/stream.pb.h"
#include "filters/access_loggers/grpc/compile.h"
#include "xds_client/compile/common.h"

namespace pinnace::filters {
namespace {

namespace accesslog = envoy::config::accesslog::v3;
namespace core = envoy::config::core::v3;
using compile::data_source;
using compile::in;
using compile::only_fields;

Result<access_log::Format> text_format(const core::SubstitutionFormatString& proto) {
  auto known = only_fields(proto, {"text_format_source", "text_format", "omit_empty_values"});
  if (!known) return in("log_format", known.error());
  if (proto.has_text_format_source()) {
    auto text = data_source(proto.text_format_source());
    if (!text) return in("log_format.text_format_source", text.error());
    return access_log::Format::compile(*text);
  }
  return access_log::Format::compile(proto.text_format());
}

Result<access_log::Format> format_of(bool given, const core::SubstitutionFormatString& proto) {
  auto format = given ? text_format(proto) : access_log::Format::compile(access_log::kDefaultFormat);
  if (!format) return in("log_format", format.error());
  return format;
}

}  // namespace

Result<access_log::Loggers> access_logs(const google::protobuf::RepeatedPtrField<accesslog::AccessLog>& protos,
                                        compile::Context& context) {
  access_log::Loggers out;
  for (const auto& proto : protos) {
    access_log::Selection selection;
    if (proto.has_filter()) {
      if (!proto.filter().has_response_flag_filter()) {
        return error("access_log.filter: only response_flag_filter is supported");
      }
      const auto& flags = proto.filter().response_flag_filter().flags();
      selection.flagged = flags.empty();
      for (const auto& name : flags) {
        http::Flag flag = http::flag_from_text(name);
        // A flag that pinnace never sets selects nothing; refusing it would refuse the listener.
        if (flag != http::Flag::kCount) selection.only |= http::flag_bit(flag);
      }
      if (!selection.flagged && selection.only == 0) continue;
    }
    std::string path;
    Result<access_log::Format> format = error("");
    using File = envoy::extensions::access_loggers::file::v3::FileAccessLog;
    using Stdout = envoy::extensions::access_loggers::stream::v3::StdoutAccessLog;
    using Stderr = envoy::extensions::access_loggers::stream::v3::StderrAccessLog;
    if (File file; proto.typed_config().UnpackTo(&file)) {
      path = file.path();
      bool given = file.has_log_format();
      auto known = only_fields(file, {"path", "log_format"});
      if (!known) return in("access_log", known.error());
      format = format_of(given, file.log_format());
    } else if (Stdout out_log; proto.typed_config().UnpackTo(&out_log)) {
      path = "/dev/stdout";
      format = format_of(out_log.has_log_format(), out_log.log_format());
    } else if (Stderr err_log; proto.typed_config().UnpackTo(&err_log)) {
      path = "/dev/stderr";
      format = format_of(err_log.has_log_format(), err_log.log_format());
    } else {
      auto service = grpc_access_log::compile(proto.typed_config(), selection, context);
      if (!service) return in("access_log", service.error());
      if (*service) {
        out.push_back(std::move(*service));
        continue;
      }
      return error("access_log '" + proto.name() + "' (" + proto.typed_config().type_url() +
                   "): not supported by pinnace");
    }
    if (!format) return in("access_log", format.error());
    if (path == "/dev/null") continue;
    auto sink = context.sinks.open(path);
    if (!sink) return in("access_log", sink.error());
    out.push_back(std::make_shared<const access_log::FileLogger>(selection, std::move(*sink), std::move(*format)));
  }
  return out;
}

}  // namespace pinnace::filters
