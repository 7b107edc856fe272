#include "filters/access_loggers/compile.h"

#include <fmt/format.h>

#include <map>

#include "envoy/extensions/access_loggers/file/v3/file.pb.h"
#include "envoy/extensions/access_loggers/stream/v3/stream.pb.h"
#include "envoy/extensions/formatter/cel/v3/cel.pb.h"
#include "envoy/extensions/formatter/req_without_query/v3/req_without_query.pb.h"
#include "filters/access_loggers/entry_filters.h"
#include "filters/access_loggers/grpc/compile.h"
#include "filters/access_loggers/operators.h"
#include "xds_client/compile/common.h"

namespace pinnace::filters {
namespace {

namespace accesslog = envoy::config::accesslog::v3;
namespace core = envoy::config::core::v3;
using compile::data_source;
using compile::in;
using compile::only_fields;

using Line = access_log::FileLogger::Line;

constexpr int kMaxDepth = 16;

Result<access_log::JsonNode> json_node(const google::protobuf::Value& value, const access_log::MakeOperator& more,
                                       int depth) {
  using Value = google::protobuf::Value;
  using Kind = access_log::JsonNode::Kind;
  access_log::JsonNode node;
  if (depth == 0) return error("nested too deeply");
  switch (value.kind_case()) {
    case Value::kStringValue: {
      auto format = access_log::Format::compile(value.string_value(), access_log::Style::kJson, more);
      if (!format) return format.error();
      node.kind = Kind::kFormat;
      node.format = std::move(*format);
      return node;
    }
    case Value::kStructValue: {
      node.kind = Kind::kObject;
      std::map<std::string, const Value*> sorted;  // ENVOY
      for (const auto& [name, member] : value.struct_value().fields()) sorted[name] = &member;
      for (const auto& [name, member] : sorted) {
        auto made = json_node(*member, more, depth - 1);
        if (!made) return in(name, made.error());
        node.members.push_back({access_log::JsonFormat::quoted(name) + ":", std::move(*made)});
      }
      return node;
    }
    case Value::kListValue:
      node.kind = Kind::kList;
      for (const auto& member : value.list_value().values()) {
        auto made = json_node(member, more, depth - 1);
        if (!made) return made.error();
        node.members.push_back({"", std::move(*made)});
      }
      return node;
    case Value::kBoolValue: node.literal = value.bool_value() ? "true" : "false"; return node;
    case Value::kNumberValue: node.literal = fmt::format("{}", value.number_value()); return node;
    default: node.literal = "null"; return node;
  }
}

Result<Line> line(const core::SubstitutionFormatString& proto, compile::Context& context) {
  auto known = only_fields(proto, {"text_format_source", "text_format", "json_format", "omit_empty_values",
                                   "formatters", "content_type", "json_format_options"});
  if (!known) return known.error();
  for (const auto& formatter : proto.formatters()) {
    using WithoutQuery = envoy::extensions::formatter::req_without_query::v3::ReqWithoutQuery;
    using Cel = envoy::extensions::formatter::cel::v3::Cel;
    if (!formatter.typed_config().Is<WithoutQuery>() && !formatter.typed_config().Is<Cel>()) {
      return error("formatters[" + formatter.name() + "] (" + formatter.typed_config().type_url() +
                   "): not supported by pinnace");
    }
  }
  auto more = more_operators(context);
  if (proto.has_json_format()) {
    google::protobuf::Value root;
    *root.mutable_struct_value() = proto.json_format();
    auto node = json_node(root, more, kMaxDepth);
    if (!node) return in("json_format", node.error());
    return Line(access_log::JsonFormat(std::move(*node), proto.omit_empty_values()));
  }
  std::string text = proto.text_format();
  if (proto.has_text_format_source()) {
    auto source = data_source(proto.text_format_source());
    if (!source) return in("text_format_source", source.error());
    text = std::move(*source);
  }
  using access_log::Style;
  auto format = access_log::Format::compile(text, proto.omit_empty_values() ? Style::kOmitting : Style::kText, more);
  if (!format) return format.error();
  return Line(std::move(*format));
}

// A file to write to and what to write.
struct File {
  std::string path;
  bool formatted = false;
  const core::SubstitutionFormatString* format = nullptr;
};

Result<std::shared_ptr<const access_log::Logger>> file_logger(const File& file, access_log::EntryFilterPtr filter,
                                                              compile::Context& context) {
  static const core::SubstitutionFormatString kDefault = [] {
    core::SubstitutionFormatString format;
    format.set_text_format(access_log::kDefaultFormat);
    return format;
  }();
  auto made = line(file.formatted ? *file.format : kDefault, context);
  if (!made) return in("log_format", made.error());
  if (file.path == "/dev/null") return std::shared_ptr<const access_log::Logger>();
  auto sink = context.sinks.open(file.path);
  if (!sink) return sink.error();
  return std::shared_ptr<const access_log::Logger>(
      std::make_shared<access_log::FileLogger>(std::move(filter), std::move(*sink), std::move(*made)));
}

// nullptr: what it writes goes nowhere.
Result<std::shared_ptr<const access_log::Logger>> logger(const accesslog::AccessLog& proto, compile::Context& context) {
  using FileLog = envoy::extensions::access_loggers::file::v3::FileAccessLog;
  using Stdout = envoy::extensions::access_loggers::stream::v3::StdoutAccessLog;
  using Stderr = envoy::extensions::access_loggers::stream::v3::StderrAccessLog;
  access_log::EntryFilterPtr filter;
  if (proto.has_filter()) {
    auto compiled = entry_filter(proto.filter(), context);
    if (!compiled) return in("filter", compiled.error());
    filter = std::move(*compiled);
  }
  if (FileLog file; proto.typed_config().UnpackTo(&file)) {
    auto known = only_fields(file, {"path", "log_format"});
    if (!known) return known.error();
    return file_logger({file.path(), file.has_log_format(), &file.log_format()}, std::move(filter), context);
  }
  if (Stdout log; proto.typed_config().UnpackTo(&log)) {
    return file_logger({"/dev/stdout", log.has_log_format(), &log.log_format()}, std::move(filter), context);
  }
  if (Stderr log; proto.typed_config().UnpackTo(&log)) {
    return file_logger({"/dev/stderr", log.has_log_format(), &log.log_format()}, std::move(filter), context);
  }
  if (grpc_access_log::understands(proto.typed_config())) {
    return grpc_access_log::compile(proto.typed_config(), std::move(filter), context);
  }
  return error(proto.typed_config().type_url() + ": not supported by pinnace");
}

}  // namespace

Result<access_log::Loggers> access_logs(const google::protobuf::RepeatedPtrField<accesslog::AccessLog>& protos,
                                        compile::Context& context) {
  access_log::Loggers out;
  for (const auto& proto : protos) {
    auto made = logger(proto, context);
    if (!made) return in("access_log[" + proto.name() + "]", made.error());
    if (*made) out.push_back(std::move(*made));
  }
  return out;
}

}  // namespace pinnace::filters
