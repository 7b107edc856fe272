// Virtual host and route choice. Expected answers were taken from Envoy 1.40 where it has one.
#include "proxy/route/match.h"

#include <gtest/gtest.h>
#include <re2/re2.h>

#include <map>
#include <string>
#include <vector>

namespace pinnace::route {
namespace {

using model::HeaderMatch;
using model::PathMatch;
using model::StringMatcher;
using Fields = std::vector<std::pair<std::string, std::string>>;

// A configuration with one virtual host per domain, named after it.
model::RouteConfig config_of(const std::vector<std::string>& domains) {
  model::RouteConfig config;
  for (const auto& domain : domains) {
    config.virtual_hosts.push_back(std::make_unique<model::VirtualHost>());
    auto* host = config.virtual_hosts.back().get();
    host->name = domain;
    if (domain == "*") config.any = host;
    else if (domain[0] == '*') config.suffixes.emplace_back(domain.substr(1), host);
    else if (domain.back() == '*') config.prefixes.emplace_back(domain.substr(0, domain.size() - 1), host);
    else config.exact[domain] = host;
  }
  auto longest = [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); };
  std::stable_sort(config.suffixes.begin(), config.suffixes.end(), longest);
  std::stable_sort(config.prefixes.begin(), config.prefixes.end(), longest);
  return config;
}

std::string chosen(const model::RouteConfig& config, std::string_view authority) {
  const char* why = nullptr;
  const auto* host = match_host(config, authority, why);
  EXPECT_TRUE(why && *why) << "says why";
  return host ? host->name : "";
}

TEST(MatchHostTest, prefers_exact_then_longest_suffix_then_longest_prefix_then_any) {
  auto config = config_of({"*", "*.com", "a.b.com", "*.b.com", "a.*", "a.b.*", "*-x.b.com", "web:8080", "[::1]:80"});
  struct {
    const char* authority;
    const char* domain;
  } cases[] = {
      {"a.b.com", "a.b.com"},
      {"A.B.CoM", "a.b.com"},
      {"c.b.com", "*.b.com"},
      {"d.c.b.com", "*.b.com"},
      {"C.B.COM", "*.b.com"},
      {"y-x.b.com", "*-x.b.com"},
      {"b.com", "*.com"},
      {".b.com", "*.com"},
      {".com", "*"},
      {"com", "*"},
      {"a.b.org", "a.b.*"},
      {"a.c.org", "a.*"},
      {"a.c.com", "*.com"},
      {"a.", "*"},
      {"a.b.", "a.*"},
      {"ab.org", "*"},
      {"a.b.com:80", "a.b.*"},
      {"c.b.com:80", "*"},
      {"web:8080", "web:8080"},
      {"web", "*"},
      {"web:80", "*"},
      {"[::1]:80", "[::1]:80"},
      {"", "*"},
  };
  for (const auto& c : cases) EXPECT_EQ(chosen(config, c.authority), c.domain) << c.authority;
}

TEST(MatchHostTest, finds_nothing_without_a_matching_domain) {
  EXPECT_EQ(chosen(config_of({"a.com", "*.b.com"}), "c.com"), "");
  EXPECT_EQ(chosen(config_of({}), "c.com"), "");
  EXPECT_EQ(chosen(config_of({"*"}), "c.com"), "*");
}

TEST(MatchHostTest, leaves_the_port_out_only_when_told_to) {
  auto config = config_of({"a.com", "*.b.com", "[::1]", "c:80"});
  EXPECT_EQ(chosen(config, "a.com:80"), "");
  EXPECT_EQ(chosen(config, "c:80"), "c:80");
  config.ignore_port = true;
  EXPECT_EQ(chosen(config, "a.com:80"), "a.com");
  EXPECT_EQ(chosen(config, "A.com:8080"), "a.com");
  EXPECT_EQ(chosen(config, "a.com"), "a.com");
  EXPECT_EQ(chosen(config, "x.b.com:1"), "*.b.com");
  EXPECT_EQ(chosen(config, "[::1]:80"), "[::1]");
  EXPECT_EQ(chosen(config, "[::1]"), "[::1]");
}

TEST(MatchHostTest, holds_wildcards_against_very_long_hosts_too) {
  auto config = config_of({"*", "*.example.com", "x*"});
  EXPECT_EQ(chosen(config, std::string(200, 'y') + ".example.com"), "*.example.com");
  EXPECT_EQ(chosen(config, std::string(300, 'y') + ".example.com"), "*.example.com");
  EXPECT_EQ(chosen(config, std::string(300, 'x')), "x*");
  EXPECT_EQ(chosen(config, std::string(300, 'y')), "*");
}

struct Request {
  explicit Request(const std::string& target, const Fields& fields = {}) : arena(pool), head(arena) {
    head.method = "GET";
    head.path = arena.copy(target);
    head.authority = "Host.Example";
    head.scheme = "http";
    for (const auto& [name, value] : fields) head.headers.add_copy(name, value);
  }
  bool matches(const model::RouteMatch& match, uint64_t random = 0) { return match_route(match, head, arena, random); }

  base::BlockPool pool;
  base::Arena arena;
  http::RequestHead head;
};

model::RouteMatch path_match(PathMatch::Kind kind, const std::string& text, bool case_sensitive = true) {
  model::RouteMatch match;
  match.path.kind = kind;
  match.path.text = text;
  match.path.case_sensitive = case_sensitive;
  if (kind == PathMatch::Kind::kRegex) match.path.regex = std::make_shared<const re2::RE2>(text);
  return match;
}

TEST(MatchRouteTest, compares_paths_by_their_kind_and_without_the_query) {
  using Kind = PathMatch::Kind;
  struct {
    Kind kind;
    const char* text;
    bool case_sensitive;
    const char* path;
    bool matched;
  } cases[] = {
      {Kind::kPrefix, "/", true, "/", true},
      {Kind::kPrefix, "/api", true, "/api", true},
      {Kind::kPrefix, "/api", true, "/apix", true},
      {Kind::kPrefix, "/api", true, "/api?q", true},
      {Kind::kPrefix, "/api", true, "/ap", false},
      {Kind::kPrefix, "/api", true, "/API", false},
      {Kind::kPrefix, "/api", false, "/API/x", true},
      {Kind::kPrefix, "/API", false, "/api", true},
      {Kind::kPrefix, "/a?b", true, "/a?b", false},
      {Kind::kExact, "/api", true, "/api", true},
      {Kind::kExact, "/api", true, "/api?x=/y", true},
      {Kind::kExact, "/api", true, "/api?", true},
      {Kind::kExact, "/api", true, "/api/", false},
      {Kind::kExact, "/api", true, "/Api", false},
      {Kind::kExact, "/api", false, "/Api", true},
      {Kind::kSeparatedPrefix, "/api", true, "/api", true},
      {Kind::kSeparatedPrefix, "/api", true, "/api/", true},
      {Kind::kSeparatedPrefix, "/api", true, "/api/v1", true},
      {Kind::kSeparatedPrefix, "/api", true, "/api?x", true},
      {Kind::kSeparatedPrefix, "/api", true, "/apix", false},
      {Kind::kSeparatedPrefix, "/api", true, "/api%2Fv1", false},
      {Kind::kSeparatedPrefix, "/api", false, "/API/v1", true},
      {Kind::kRegex, "/a[0-9]+", true, "/a12", true},
      {Kind::kRegex, "/a[0-9]+", true, "/a12?b", true},
      {Kind::kRegex, "/a[0-9]+", true, "/a12/b", false},
      {Kind::kRegex, "/a[0-9]+", true, "x/a12", false},
      {Kind::kRegex, "/a.*", true, "/a?\n", true},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(Request(c.path).matches(path_match(c.kind, c.text, c.case_sensitive)), c.matched)
        << static_cast<int>(c.kind) << " " << c.text << " against " << c.path;
  }
}

model::RouteMatch header_match(HeaderMatch header) {
  model::RouteMatch match = path_match(PathMatch::Kind::kPrefix, "/");
  match.headers.push_back(std::move(header));
  return match;
}

HeaderMatch text_match(const std::string& name, StringMatcher::Kind kind, const std::string& text,
                       bool invert = false) {
  HeaderMatch match;
  match.name = name;
  match.kind = HeaderMatch::Kind::kString;
  match.matcher = StringMatcher::literal(kind, text, false);
  match.invert = invert;
  return match;
}

TEST(MatchRouteTest, compares_header_values) {
  using Kind = StringMatcher::Kind;
  struct {
    Kind kind;
    const char* text;
    const char* value;
    bool matched;
  } cases[] = {
      {Kind::kExact, "abc", "abc", true},
      {Kind::kExact, "abc", "ABC", false},
      {Kind::kExact, "abc", "abcd", false},
      {Kind::kExact, "abc", "", false},
      {Kind::kPrefix, "ab", "abc", true},
      {Kind::kPrefix, "ab", "xab", false},
      {Kind::kSuffix, "bc", "abc", true},
      {Kind::kSuffix, "bc", "bcx", false},
      {Kind::kSuffix, "abcd", "bcd", false},
      {Kind::kContains, "b", "abc", true},
      {Kind::kContains, "x", "abc", false},
      {Kind::kExact, "\xff", "\xff", true},
      {Kind::kContains, "a",
       "\xff"
       "a",
       true},
  };
  for (const auto& c : cases) {
    Request request("/", {{"x", c.value}});
    EXPECT_EQ(request.matches(header_match(text_match("x", c.kind, c.text))), c.matched) << c.text << " in " << c.value;
    EXPECT_EQ(request.matches(header_match(text_match("x", c.kind, c.text, true))), !c.matched)
        << "inverted " << c.text;
  }
}

TEST(MatchRouteTest, a_missing_header_matches_nothing_unless_it_counts_as_empty) {
  Request request("/");
  for (bool invert : {false, true}) {
    HeaderMatch match = text_match("x", StringMatcher::Kind::kExact, "1", invert);
    EXPECT_FALSE(request.matches(header_match(match))) << invert;
    match.missing_is_empty = true;
    EXPECT_EQ(request.matches(header_match(match)), invert);
  }
  HeaderMatch empty = text_match("x", StringMatcher::Kind::kExact, "");
  EXPECT_FALSE(request.matches(header_match(empty)));
  empty.missing_is_empty = true;
  EXPECT_TRUE(request.matches(header_match(empty)));
}

TEST(MatchRouteTest, asks_for_presence_and_absence) {
  struct {
    bool present, invert, with_header, matched;
  } cases[] = {
      {true, false, true, true},   {true, false, false, false}, {true, true, true, false}, {true, true, false, true},
      {false, false, true, false}, {false, false, false, true}, {false, true, true, true}, {false, true, false, false},
  };
  for (const auto& c : cases) {
    HeaderMatch match;
    match.name = "x";
    match.present = c.present;
    match.invert = c.invert;
    Request request("/", c.with_header ? Fields{{"x", ""}} : Fields{});
    EXPECT_EQ(request.matches(header_match(match)), c.matched) << c.present << c.invert << c.with_header;
  }
}

TEST(MatchRouteTest, compares_numbers_in_a_half_open_range) {
  HeaderMatch match;
  match.name = "x";
  match.kind = HeaderMatch::Kind::kRange;
  match.range_start = -5;
  match.range_end = 10;
  struct {
    const char* value;
    bool matched;
  } cases[] = {{"-5", true},
               {"-6", false},
               {"0", true},
               {"9", true},
               {"10", false},
               {"03", true},
               {"+3", true},
               {"3x", false},
               {"", false},
               {"x", false},
               {"1.5", false},
               {"0x3", false},
               {"99999999999999999999", false}};
  for (const auto& c : cases) {
    EXPECT_EQ(Request("/", {{"x", c.value}}).matches(header_match(match)), c.matched) << "'" << c.value << "'";
  }
}

TEST(MatchRouteTest, shows_matchers_the_joined_value_of_a_header_sent_twice) {
  using Kind = StringMatcher::Kind;
  for (const Fields& fields : {Fields{{"x-role", "user"}, {"x-role", "admin"}}, Fields{{"x-role", "user,admin"}}}) {
    Request request("/", fields);
    EXPECT_TRUE(request.matches(header_match(text_match("x-role", Kind::kExact, "user,admin"))));
    EXPECT_TRUE(request.matches(header_match(text_match("x-role", Kind::kContains, "admin"))));
    EXPECT_FALSE(request.matches(header_match(text_match("x-role", Kind::kContains, "admin", true))));
    EXPECT_FALSE(request.matches(header_match(text_match("x-role", Kind::kExact, "user"))));
  }
}

TEST(MatchRouteTest, reads_pseudo_headers_and_host) {
  using Kind = StringMatcher::Kind;
  Request request("/p?q=1");
  EXPECT_TRUE(request.matches(header_match(text_match(":method", Kind::kExact, "GET"))));
  EXPECT_TRUE(request.matches(header_match(text_match(":path", Kind::kExact, "/p?q=1"))));
  EXPECT_TRUE(request.matches(header_match(text_match(":authority", Kind::kExact, "Host.Example"))));
  EXPECT_TRUE(request.matches(header_match(text_match("host", Kind::kExact, "Host.Example"))));
  EXPECT_TRUE(request.matches(header_match(text_match(":scheme", Kind::kExact, "http"))));
  EXPECT_FALSE(request.matches(header_match(text_match(":other", Kind::kExact, "http"))));
}

TEST(MatchRouteTest, wants_all_headers_to_match) {
  auto match = header_match(text_match("a", StringMatcher::Kind::kExact, "1"));
  match.headers.push_back(text_match("b", StringMatcher::Kind::kExact, "2"));
  EXPECT_TRUE(Request("/", {{"b", "2"}, {"a", "1"}}).matches(match));
  EXPECT_FALSE(Request("/", {{"a", "1"}}).matches(match));
  EXPECT_FALSE(Request("/", {{"a", "1"}, {"b", "1"}}).matches(match));
}

TEST(MatchRouteTest, looks_at_the_first_query_parameter_of_a_name_undecoded) {
  auto match = path_match(PathMatch::Kind::kPrefix, "/");
  match.query.push_back({"a", StringMatcher::literal(StringMatcher::Kind::kExact, "1", false)});
  for (const char* path : {"/q?a=1", "/q?b&a=1", "/q?a=1&a=2", "/q?b=2&a=1&c"})
    EXPECT_TRUE(Request(path).matches(match)) << path;
  for (const char* path :
       {"/q", "/q?", "/q?a", "/q?a=", "/q?a=2&a=1", "/q?a=%31", "/q?aa=1", "/q?A=1", "/q?b=a=1", "/a=1"}) {
    EXPECT_FALSE(Request(path).matches(match)) << path;
  }
  match.query[0].matcher.reset();
  for (const char* path : {"/q?a", "/q?a=", "/q?x&a=2"}) EXPECT_TRUE(Request(path).matches(match)) << path;
  for (const char* path : {"/q", "/q?b", "/q?ab=1"}) EXPECT_FALSE(Request(path).matches(match)) << path;
}

TEST(MatchRouteTest, knows_grpc_by_its_content_type) {
  auto match = path_match(PathMatch::Kind::kPrefix, "/");
  match.grpc_only = true;
  for (const char* type : {"application/grpc", "application/grpc+proto", "application/grpc+"}) {
    EXPECT_TRUE(Request("/", {{"content-type", type}}).matches(match)) << type;
  }
  for (const char* type : {"application/grpc-web", "application/grpcx", "application/json", "", "xapplication/grpc"}) {
    EXPECT_FALSE(Request("/", {{"content-type", type}}).matches(match)) << type;
  }
  EXPECT_FALSE(Request("/").matches(match));
}

TEST(MatchRouteTest, takes_the_fraction_it_is_told_to) {
  auto match = path_match(PathMatch::Kind::kPrefix, "/");
  match.runtime_fraction = std::make_shared<std::atomic<uint32_t>>(250000);
  Request request("/");
  EXPECT_TRUE(request.matches(match, 0));
  EXPECT_TRUE(request.matches(match, 249999));
  EXPECT_FALSE(request.matches(match, 250000));
  EXPECT_TRUE(request.matches(match, 7000000));
  match.runtime_fraction = std::make_shared<std::atomic<uint32_t>>(0);
  EXPECT_FALSE(request.matches(match, 0));
}

TEST(MatchTest, takes_the_first_route_that_matches_and_says_what_is_missing) {
  auto config = config_of({"a"});
  auto& routes = config.virtual_hosts[0]->routes;
  for (const char* path : {"/one", "/", "/two"}) {
    routes.emplace_back();
    routes.back().name = path;
    routes.back().match = path_match(PathMatch::Kind::kPrefix, path);
  }
  Request request("/two");
  request.head.authority = "a";
  Decision decision = match(config, request.head, request.arena, 0);
  ASSERT_TRUE(decision.route);
  EXPECT_EQ(decision.route->name, "/");
  EXPECT_EQ(decision.virtual_host->name, "a");
  routes.pop_back();
  routes.pop_back();
  decision = match(config, request.head, request.arena, 0);
  EXPECT_FALSE(decision.route);
  EXPECT_TRUE(decision.virtual_host);
  EXPECT_STRNE(decision.why, "");
  request.head.authority = "b";
  EXPECT_FALSE(match(config, request.head, request.arena, 0).virtual_host);
}

TEST(ChooseClusterTest, spreads_by_weight) {
  model::RouteAction action;
  EXPECT_EQ(choose_cluster(action.clusters, action.total_weight, 7), nullptr);
  for (auto [name, weight] : std::vector<std::pair<std::string, uint32_t>>{{"a", 1}, {"none", 0}, {"b", 3}, {"c", 6}}) {
    action.clusters.push_back({0, name, weight});
    action.total_weight += weight;
  }
  std::map<std::string, int> count;
  for (uint64_t random = 1000; random < 2000; random++)
    count[choose_cluster(action.clusters, action.total_weight, random)->name]++;
  EXPECT_EQ(count, (std::map<std::string, int>{{"a", 100}, {"b", 300}, {"c", 600}}));
  EXPECT_TRUE(choose_cluster(action.clusters, action.total_weight, ~uint64_t{0}));
}

}  // namespace
}  // namespace pinnace::route
