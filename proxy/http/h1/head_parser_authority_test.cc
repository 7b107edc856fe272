// Whom a request is for: Host, absolute-form, CONNECT, and what Connection may take away. Answers are Envoy 1.40's.
#include <gtest/gtest.h>

#include <string>

#include "proxy/http/h1/head_parser.h"

namespace pinnace::http::h1 {
namespace {

struct Parsed {
  explicit Parsed(std::string bytes)
      : text(std::move(bytes)),
        arena(pool),
        head(arena),
        result(parse_request(text.data(), text.size(), HeadLimits(), head)) {}
  bool ok() const { return result.error == HeadError::kNone; }

  std::string text;
  base::BlockPool pool;
  base::Arena arena;
  RequestHead head;
  HeadResult result;
};

Parsed with_target(const std::string& target, const std::string& lines = "Host: a\r\n",
                   const std::string& method = "GET") {
  return Parsed(method + " " + target + " HTTP/1.1\r\n" + lines + "\r\n");
}

TEST(AuthorityTest, of_the_absolute_form_replaces_host) {
  struct {
    const char* target;
    const char* authority;
    const char* path;
    const char* scheme;
  } cases[] = {
      {"http://b.com/p?x=1", "b.com", "/p?x=1", "http"},
      {"http://b.com", "b.com", "/", "http"},
      {"HTTP://b.com:81/", "b.com:81", "/", "http"},
      {"https://b.com/p", "b.com", "/p", "https"},
      {"http://[::1]:80/p", "[::1]:80", "/p", "http"},
      {"http://b.com/http://c.com/", "b.com", "/http://c.com/", "http"},
      {"http://b.com/u@c.com", "b.com", "/u@c.com", "http"},
      {"http://u:p@b.com/p", "b.com", "/p", "http"},
      {"http://b.com:80@c.com/p", "c.com", "/p", "http"},
  };
  for (const char* host : {"Host: a\r\n", ""}) {
    for (const auto& c : cases) {
      Parsed parsed = with_target(c.target, host + std::string("x: y\r\n"));
      ASSERT_TRUE(parsed.ok()) << c.target;
      EXPECT_EQ(parsed.head.authority, c.authority);
      EXPECT_EQ(parsed.head.path, c.path);
      EXPECT_EQ(parsed.head.scheme, c.scheme);
      EXPECT_FALSE(parsed.head.headers.has(HeaderId::kHost));
    }
  }
}

TEST(AuthorityTest, of_the_absolute_form_must_be_one_host) {
  for (const char* target : {"http://a@b@c/p", "http://b@/p", "http://u:p@/p", "http:///p", "http://", "http://b#c/p",
                             "http://b\\@c/p", "http://b\\c/p", "http://b|c/p"}) {
    EXPECT_FALSE(with_target(target).ok()) << target << " is for '" << with_target(target).head.authority << "'";
  }
}

TEST(AuthorityTest, of_connect_is_host_and_port) {
  for (const char* target : {"b.com:443", "1.2.3.4:80", "[::1]:443"}) {
    Parsed parsed = with_target(target, "Host: a\r\n", "CONNECT");
    ASSERT_TRUE(parsed.ok()) << target;
    EXPECT_EQ(parsed.head.authority, target);
  }
  for (const char* target : {"b.com", "b.com:", ":443", "b.com:99999", "b.com:0x50", "a@b:443", "b.com:443?x",
                             "b.com:443/", "::1:443", "/p", "*", "http://b.com:443/", "http://b.com:443"}) {
    Parsed parsed = with_target(target, "Host: a\r\n", "CONNECT");
    EXPECT_FALSE(parsed.ok()) << target;
    if (!parsed.ok()) {
      EXPECT_STREQ(parsed.result.detail, "http1.invalid_url") << target;
    }
  }
  EXPECT_STREQ(with_target("b.com:443", "Host: a\r\nContent-Length: 3\r\n", "CONNECT").result.detail,
               "http1.body_disallowed");
}

TEST(AuthorityTest, of_host_has_no_characters_that_end_a_host) {
  for (const char* host : {"a", "A.Example:80", "[::1]:80", "u@a", "a:abc", "a_b.c", "%41", "a;b", "a:", "[::1", "a[b]",
                           "a~!$&'()*+=", ""}) {
    Parsed parsed = with_target("/", std::string("Host: ") + host + "\r\n");
    EXPECT_TRUE(parsed.ok()) << host;
    EXPECT_EQ(parsed.head.authority, host);
  }
  for (const char* host : {"a\"b", "a#b", "a<b", "a>b", "a/b", "/", "a?b", "a\\b", "a^b", "a`b", "a{b", "a|b", "a}b",
                           "a b", "a\tb", "a\xff"}) {
    Parsed parsed = with_target("/", std::string("Host: ") + host + "\r\n");
    EXPECT_FALSE(parsed.ok()) << host;
    EXPECT_STREQ(parsed.result.detail, "http.invalid_authority") << host;
  }
}

TEST(ConnectionFieldTest, cannot_nominate_what_decisions_rest_on) {
  for (const char* lines : {"Connection: x-forwarded-for\r\n", "Connection: X-Forwarded-For\r\n",
                            "Connection: close, x-forwarded-proto\r\n", "Connection: x-forwarded-host ,x\r\n",
                            "Connection: x\r\nConnection: x-forwarded-for\r\n",
                            "Connection: close\r\nx: y\r\nconnection: a, x-forwarded-proto\r\n",
                            "Connection: :path\r\n", "Connection: close, :authority\r\n"}) {
    Parsed parsed = with_target("/", std::string("Host: a\r\n") + lines);
    EXPECT_FALSE(parsed.ok()) << lines;
    EXPECT_STREQ(parsed.result.detail, "http1.connection_header_rejected") << lines;
  }
  for (const char* lines :
       {"Connection: x-foo\r\n", "Connection: keep-alive, Upgrade\r\n", "Connection: x-forwarded-for2\r\n"}) {
    EXPECT_TRUE(with_target("/", std::string("Host: a\r\n") + lines).ok()) << lines;
  }
}

TEST(ConnectionFieldTest, that_nominates_host_takes_it_away) {
  for (const char* lines :
       {"Connection: host\r\n", "Connection: close, Host\r\n", "Connection: x\r\nConnection: host\r\n"}) {
    Parsed parsed = with_target("/", std::string("Host: a\r\n") + lines);
    ASSERT_TRUE(parsed.ok()) << lines;
    EXPECT_EQ(parsed.head.authority, "") << lines << " missing_host_header is for the caller to answer";
  }
}

}  // namespace
}  // namespace pinnace::http::h1
