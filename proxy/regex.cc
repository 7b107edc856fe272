#define PCRE2_CODE_UNIT_WIDTH 8
#include "proxy/regex.h"

#include <pcre2.h>

namespace pinnace {

Result<std::shared_ptr<const Regex>> Regex::compile(const std::string& pattern) {
  int code = 0;
  PCRE2_SIZE offset = 0;
  auto* compiled =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), 0, &code, &offset, nullptr);
  if (!compiled) {
    PCRE2_UCHAR text[256];
    pcre2_get_error_message(code, text, sizeof text);
    return error("invalid regex '" + pattern + "': " + reinterpret_cast<char*>(text));
  }
  std::shared_ptr<Regex> regex(new Regex);
  regex->code_ = compiled;
  return std::shared_ptr<const Regex>(std::move(regex));
}

Regex::~Regex() { pcre2_code_free(static_cast<pcre2_code*>(code_)); }

bool Regex::search(std::string_view text, std::string_view& first, std::string_view& second) const {
  auto* code = static_cast<pcre2_code*>(code_);
  auto* match = pcre2_match_data_create_from_pattern(code, nullptr);
  int groups = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, 0, match, nullptr);
  bool found = groups > 1;
  if (found) {
    const PCRE2_SIZE* at = pcre2_get_ovector_pointer(match);
    auto group = [&](int i) { return text.substr(at[2 * i], at[2 * i + 1] - at[2 * i]); };
    first = group(1);
    second = groups > 2 ? group(2) : first;
  }
  pcre2_match_data_free(match);
  return found;
}

const std::vector<std::pair<std::string, std::string>>& default_stats_tags() {
  static const std::vector<std::pair<std::string, std::string>> tags = {
      {"envoy.response_code", R"(_rq(_(\d{3}))$)"},
      {"envoy.response_code_class", R"(_rq_((\d))xx$)"},
      {"envoy.cluster_name",
       R"(^cluster\.((.+?)\.)(?:(?:external|internal|retry)\.)?(?:upstream_|membership_|lb_|ssl\.|circuit_breakers|original_dst))"},
      {"envoy.http_conn_manager_prefix", R"(^http\.((.+?)\.)(?:downstream_|rq_|no_route|no_cluster|tracing))"},
      {"envoy.tcp_prefix", R"(^tcp\.((.+?)\.)(?:downstream_|idle_timeout|upstream_flush))"},
      {"envoy.listener_address", R"(^listener\.((.+?)\.)(?:downstream_|no_filter|ssl\.|http\.))"},
  };
  return tags;
}

}  // namespace pinnace
