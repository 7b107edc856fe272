#include "translator/translate/route_match.h"

#include <algorithm>
#include <string>

namespace pinnace::translator {
namespace {

namespace route3 = envoy::config::route::v3;

bool is_presence(const StringMatch& match) {
  return match.kind == StringMatch::Kind::kPresent || (match.kind == StringMatch::Kind::kRegex && match.value == "*");
}

template <class Matcher>
void set_string(const StringMatch& from, Matcher* to) {
  switch (from.kind) {
    case StringMatch::Kind::kExact: to->set_exact(from.value); break;
    case StringMatch::Kind::kPrefix: to->set_prefix(from.value); break;
    case StringMatch::Kind::kRegex: to->mutable_safe_regex()->set_regex(from.value); break;
    case StringMatch::Kind::kPresent: break;
  }
}

route3::HeaderMatcher header(const std::string& name, const StringMatch& match) {
  route3::HeaderMatcher out;
  out.set_name(name);
  if (is_presence(match)) out.set_present_match(true);
  else set_string(match, out.mutable_string_match());
  return out;
}

}  // namespace

void set_match(const HttpMatch* match, route3::RouteMatch* out) {
  out->set_prefix("/");
  if (!match) return;
  if (match->uri) {
    switch (match->uri->kind) {
      case StringMatch::Kind::kExact: out->set_path(match->uri->value); break;
      case StringMatch::Kind::kPrefix: out->set_prefix(match->uri->value); break;
      case StringMatch::Kind::kRegex: out->mutable_safe_regex()->set_regex(match->uri->value); break;
      case StringMatch::Kind::kPresent: break;
    }
  }
  out->mutable_case_sensitive()->set_value(!match->ignore_uri_case);
  for (auto& [name, one] : match->headers) *out->add_headers() = header(name, one);
  for (auto& [name, one] : match->without_headers) {
    auto* absent = out->add_headers();
    *absent = header(name, one);
    absent->set_invert_match(true);
    absent->set_treat_missing_header_as_empty(true);
  }
  std::stable_sort(out->mutable_headers()->begin(), out->mutable_headers()->end(),
                   [](auto& a, auto& b) { return a.name() < b.name(); });
  if (match->method) *out->add_headers() = header(":method", *match->method);
  if (match->authority) *out->add_headers() = header(":authority", *match->authority);
  if (match->scheme) *out->add_headers() = header(":scheme", *match->scheme);
  for (auto& [name, one] : match->query_params) {
    auto* parameter = out->add_query_parameters();
    parameter->set_name(name);
    if (is_presence(one)) parameter->set_present_match(true);
    else set_string(one, parameter->mutable_string_match());
  }
}

bool takes_everything(const route3::RouteMatch& match) {
  if (match.headers_size() > 0 || match.query_parameters_size() > 0) return false;
  return (match.has_prefix() && match.prefix() == "/") ||
         (match.has_safe_regex() && match.safe_regex().regex() == ".*");
}

}  // namespace pinnace::translator
