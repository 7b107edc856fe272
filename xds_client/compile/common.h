// Conversions of messages that appear everywhere: addresses, durations, string matchers, header mutations, data
// sources.
#pragma once

#include "envoy/config/core/v3/address.pb.h"
#include "envoy/config/core/v3/base.pb.h"
#include "envoy/type/matcher/v3/regex.pb.h"
#include "envoy/type/matcher/v3/string.pb.h"
#include "proxy/base/address.h"
#include "proxy/model/route.h"
#include "xds_client/compile/context.h"

namespace re2 {
class RE2;
}

namespace pinnace::compile {

// ERRORS: it is more than 65535.
Result<uint16_t> port(uint32_t number);
Result<base::Address> address(const envoy::config::core::v3::Address& proto);
Result<base::Cidr> cidr(const envoy::config::core::v3::CidrRange& proto);
// Saturates; negative is 0.
uint64_t milliseconds(const google::protobuf::Duration& duration);
Result<model::StringMatcher> string_matcher(const envoy::type::matcher::v3::StringMatcher& proto);
Result<std::shared_ptr<const re2::RE2>> regex(const envoy::type::matcher::v3::RegexMatcher& proto);
Result<model::HeaderMutations> header_mutations(
    const google::protobuf::RepeatedPtrField<envoy::config::core::v3::HeaderValueOption>& add,
    const google::protobuf::RepeatedPtrField<std::string>& remove);
// inline_string, inline_bytes, filename or environment_variable.
Result<std::string> data_source(const envoy::config::core::v3::DataSource& proto);
std::string lower(std::string_view text);
// filter_metadata["istio"]["config"], the resource a piece came from; empty when there is none.
std::string istio_config(const envoy::config::core::v3::Metadata& metadata);

}  // namespace pinnace::compile
