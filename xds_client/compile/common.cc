#include "xds_client/compile/common.h"

#include <re2/re2.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "proxy/http/h1/head_parser.h"
#include "xds_client/compile/struct.h"

namespace pinnace::compile {

namespace core = envoy::config::core::v3;

Result<uint16_t> port(uint32_t number) {
  if (number > 65535) return error("port_value: " + std::to_string(number) + " is no port");
  return static_cast<uint16_t>(number);
}

Result<base::Address> address(const core::Address& proto) {
  switch (proto.address_case()) {
    case core::Address::kSocketAddress: {
      const auto& socket = proto.socket_address();
      auto known = only_fields(socket, {"protocol", "address", "port_value", "resolver_name", "ipv4_compat"});
      if (!known) return in("socket_address", known.error());
      if (socket.protocol() != core::SocketAddress::TCP) return error("socket_address.protocol: only TCP is supported");
      auto number = port(socket.port_value());
      if (!number) return in("socket_address", number.error());
      auto ip = base::Address::ip(socket.address(), *number);
      if (!ip) return error("socket_address.address: " + ip.error().message);
      return *ip;
    }
    case core::Address::kPipe: return base::Address::pipe(proto.pipe().path());
    case core::Address::kEnvoyInternalAddress:
      return error("envoy_internal_address: internal listeners are not supported yet");
    case core::Address::ADDRESS_NOT_SET: break;
  }
  return error("address: not set");
}

Result<base::Cidr> cidr(const core::CidrRange& proto) {
  return base::Cidr::parse(proto.address_prefix(), static_cast<int>(proto.prefix_len().value()));
}

uint64_t milliseconds(const google::protobuf::Duration& duration) {
  if (duration.seconds() < 0) return 0;
  constexpr int64_t kMax = int64_t{1} << 40;
  int64_t seconds = std::min(duration.seconds(), kMax / 1000);
  uint64_t ms = static_cast<uint64_t>(seconds) * 1000 + static_cast<uint64_t>(std::max(0, duration.nanos())) / 1000000;
  // A positive duration never becomes 0, which means "none" everywhere.
  return ms == 0 && duration.nanos() > 0 ? 1 : ms;
}

Result<std::shared_ptr<const re2::RE2>> regex(const envoy::type::matcher::v3::RegexMatcher& proto) {
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_encoding(re2::RE2::Options::EncodingLatin1);
  auto compiled = std::make_shared<const re2::RE2>(proto.regex(), options);
  if (!compiled->ok()) return error("invalid regex '" + proto.regex() + "': " + compiled->error());
  return std::shared_ptr<const re2::RE2>(std::move(compiled));
}

Result<model::StringMatcher> string_matcher(const envoy::type::matcher::v3::StringMatcher& proto) {
  using Proto = envoy::type::matcher::v3::StringMatcher;
  using Kind = model::StringMatcher::Kind;
  bool fold = proto.ignore_case();
  switch (proto.match_pattern_case()) {
    case Proto::kExact: return model::StringMatcher::literal(Kind::kExact, proto.exact(), fold);
    case Proto::kPrefix: return model::StringMatcher::literal(Kind::kPrefix, proto.prefix(), fold);
    case Proto::kSuffix: return model::StringMatcher::literal(Kind::kSuffix, proto.suffix(), fold);
    case Proto::kContains: return model::StringMatcher::literal(Kind::kContains, proto.contains(), fold);
    case Proto::kSafeRegex: return model::StringMatcher::regex(proto.safe_regex().regex());
    case Proto::kCustom: return error("custom: not supported by pinnace");
    case Proto::MATCH_PATTERN_NOT_SET: break;
  }
  return error("match_pattern: not set");
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; });
  return out;
}

Result<model::HeaderMutations> header_mutations(const google::protobuf::RepeatedPtrField<core::HeaderValueOption>& add,
                                                const google::protobuf::RepeatedPtrField<std::string>& remove) {
  using Option = core::HeaderValueOption;
  using Action = model::HeaderMutation::Action;
  model::HeaderMutations out;
  for (const auto& option : add) {
    model::HeaderMutation one;
    one.name = lower(option.header().key());
    one.value = option.header().value().empty() ? option.header().raw_value() : option.header().value();
    if (!http::h1::is_token(one.name)) return error("'" + option.header().key() + "' is not a header name");
    if (!http::h1::is_field_value(one.value)) return error("the value of " + one.name + " holds control characters");
    if (one.value.find('%') != std::string::npos) {
      return error("the value of " + one.name + " uses % operators, which are not supported yet");
    }
    switch (option.append_action()) {
      case Option::ADD_IF_ABSENT: one.action = Action::kAddIfAbsent; break;
      case Option::OVERWRITE_IF_EXISTS_OR_ADD: one.action = Action::kOverwrite; break;
      case Option::OVERWRITE_IF_EXISTS: one.action = Action::kOverwriteIfExists; break;
      default: one.action = Action::kAppend;
    }
    if (option.has_append() && !option.append().value()) one.action = Action::kOverwrite;
    out.add.push_back(std::move(one));
  }
  for (const auto& name : remove) out.remove.push_back(lower(name));
  return out;
}

Result<std::string> data_source(const core::DataSource& proto) {
  switch (proto.specifier_case()) {
    case core::DataSource::kInlineString: return proto.inline_string();
    case core::DataSource::kInlineBytes: return proto.inline_bytes();
    case core::DataSource::kFilename: {
      std::ifstream file(proto.filename(), std::ios::binary);
      if (!file) return error("cannot read " + proto.filename());
      std::ostringstream text;
      text << file.rdbuf();
      return text.str();
    }
    case core::DataSource::kEnvironmentVariable: {
      const char* value = std::getenv(proto.environment_variable().c_str());
      if (!value) return error("environment variable " + proto.environment_variable() + " is not set");
      return std::string(value);
    }
    case core::DataSource::SPECIFIER_NOT_SET: break;
  }
  return error("data source: not set");
}

std::string istio_config(const core::Metadata& metadata) {
  auto istio = metadata.filter_metadata().find("istio");
  if (istio == metadata.filter_metadata().end()) return {};
  return value_in(istio->second, "config").string_value();
}

}  // namespace pinnace::compile
