#include "xds_client/bootstrap_fields.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <initializer_list>

namespace pinnace::xds {
namespace {

void others(const google::protobuf::Message& message, const std::string& place,
            std::initializer_list<std::string_view> known, std::vector<std::string>& out) {
  std::vector<const google::protobuf::FieldDescriptor*> set;
  message.GetReflection()->ListFields(message, &set);
  for (const auto* field : set) {
    if (std::find(known.begin(), known.end(), field->name()) == known.end()) out.push_back(place + field->name());
  }
}

}  // namespace

std::vector<std::string> left_out(const Bootstrap& bootstrap) {
  std::vector<std::string> out;
  // bootstrap_extensions (internal_listener), deferred_stat_options and stats_flush_interval mean nothing here.
  others(bootstrap, "",
         {"node", "static_resources", "dynamic_resources", "admin", "layered_runtime", "stats_config",
          "overload_manager", "application_log_config", "bootstrap_extensions", "deferred_stat_options",
          "stats_flush_interval", "default_regex_engine"},
         out);
  others(bootstrap.stats_config(), "stats_config.", {"stats_tags", "use_all_default_tags", "stats_matcher"}, out);
  for (const auto& tag : bootstrap.stats_config().stats_tags()) {
    if (tag.has_fixed_value()) out.push_back("stats_config.stats_tags[" + tag.tag_name() + "].fixed_value");
  }
  others(bootstrap.overload_manager(), "overload_manager.", {"refresh_interval", "resource_monitors"}, out);
  others(bootstrap.dynamic_resources(), "dynamic_resources.", {"ads_config", "cds_config", "lds_config"}, out);
  return out;
}

Result<std::vector<std::pair<std::string, std::string>>> json_log_fields(const Bootstrap& bootstrap) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& [name, value] : bootstrap.application_log_config().log_format().json_format().fields()) {
    if (value.kind_case() != google::protobuf::Value::kStringValue) {
      return error("application_log_config.log_format.json_format." + name + ": not a string");
    }
    out.emplace_back(name, value.string_value());
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace pinnace::xds
