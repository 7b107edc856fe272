// Request heads: what is taken and how it is framed, and the table of smuggling and malformed vectors.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "proxy/http/h1/head_parser.h"

namespace pinnace::http::h1 {
namespace {

struct Parsed {
  explicit Parsed(std::string bytes, uint32_t max_headers = 100)
      : text(std::move(bytes)),
        arena(pool),
        head(arena),
        result(parse_request(text.data(), text.size(), {max_headers}, head)) {}

  std::string text;
  base::BlockPool pool;
  base::Arena arena;
  RequestHead head;
  HeadResult result;
};

// A complete head with one Host and the given further lines.
std::string with_lines(const std::string& lines, const std::string& line = "POST /p HTTP/1.1") {
  return line + "\r\nHost: a\r\n" + lines + "\r\n";
}

struct Bad {
  const char* what;
  std::string bytes;
  HeadError error = HeadError::kMalformed;
};

std::string raw(const char* text, size_t size) { return {text, size}; }

std::vector<Bad> malformed_request_lines() {
  auto line = [](const std::string& text) { return text + "\r\nHost: a\r\n\r\n"; };
  return {
      {"nothing but a method", line("GET")},
      {"a method and a space", line("GET ")},
      {"no target", line("GET  HTTP/1.1")},
      {"a leading space", line(" GET /p HTTP/1.1")},
      {"a leading tab", line("\tGET /p HTTP/1.1")},
      {"an empty line only", "\r\n"},
      {"tabs as separators", line("GET\t/p\tHTTP/1.1")},
      {"a space inside the target", line("GET /a b HTTP/1.1")},
      {"a tab inside the target", line("GET /a\tb HTTP/1.1")},
      {"two requests' versions in one line", line("GET /a HTTP/1.1 HTTP/1.1")},
      {"a NUL in the target", line(raw("GET /a\0b HTTP/1.1", 17))},
      {"a control byte in the target", line("GET /a\x01 HTTP/1.1")},
      {"DEL in the target", line("GET /a\x7f HTTP/1.1")},
      {"a byte above 0x7f in the target", line("GET /a\xc3\xa9 HTTP/1.1")},
      {"a CR inside the request line", line("GET /a\rX: y HTTP/1.1")},
      {"a colon in the method", line("GE:T /p HTTP/1.1")},
      {"a quoted method", line("\"GET\" /p HTTP/1.1")},
      {"a NUL in the method", line(raw("G\0T /p HTTP/1.1", 15))},
      {"an empty method", line(" /p HTTP/1.1")},
      {"a target that is a bare word", line("GET p HTTP/1.1")},
      {"a target that is only a query", line("GET ?q HTTP/1.1")},
      {"authority-form for GET", line("GET b.com:443 HTTP/1.1")},
      {"asterisk-form for GET", line("GET * HTTP/1.1")},
      {"asterisk-form with more behind it", line("OPTIONS *x HTTP/1.1")},
      {"an absolute target of an unknown scheme", line("GET ftp://b.com/p HTTP/1.1")},
      {"an absolute target without authority", line("GET http:///p HTTP/1.1")},
      {"an absolute target with only one slash", line("GET http:/b.com/p HTTP/1.1")},
      {"TLS bytes", raw("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 15)},
      {"a trailing space after the version", line("GET /p HTTP/1.1 ")},
  };
}

std::vector<Bad> other_versions() {
  std::vector<Bad> all = {{"an HTTP/0.9 line", "GET /p\r\nHost: a\r\n\r\n", HeadError::kVersion}};
  for (const char* version : {"HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/3.0"}) {
    all.push_back({version, "GET /p " + std::string(version) + "\r\nHost: a\r\n\r\n", HeadError::kVersion});
  }
  for (const char* version : {"HTTP/2", "HTTP/1.10", "HTTP/1.", "HTTP/1", "http/1.1", "HTTPS/1.1", "HTTP/01.1",
                              "HTTP/1.1x", "HTTP/+1.1", "HTTP/1,1", "HTTP/a.b", "HTTP /1.1"}) {
    all.push_back({version, "GET /p " + std::string(version) + "\r\nHost: a\r\n\r\n"});
  }
  return all;
}

std::vector<Bad> malformed_fields() {
  return {
      {"no colon", with_lines("abc\r\n")},
      {"an empty name", with_lines(": v\r\n")},
      {"a space before the colon", with_lines("X : v\r\n")},
      {"a tab before the colon", with_lines("X\t: v\r\n")},
      {"a space before the colon of Host", "GET / HTTP/1.1\r\nHost : a\r\n\r\n"},
      {"a space before the colon of Content-Length", with_lines("Content-Length : 3\r\n")},
      {"a space before the colon of Transfer-Encoding", with_lines("Transfer-Encoding : chunked\r\n")},
      {"a space inside a name", with_lines("Content Length: 3\r\n")},
      {"a folded value", with_lines("X: a\r\n b\r\n")},
      {"a value folded with a tab", with_lines("X: a\r\n\tb\r\n")},
      {"a folded Transfer-Encoding", with_lines("Transfer-Encoding:\r\n chunked\r\n")},
      {"a fold on the first field line", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"},
      {"a line of one space", with_lines(" \r\n")},
      {"a pseudo-header name", with_lines(":path: /x\r\n")},
      {"a pseudo-authority", with_lines(":authority: x\r\n")},
      {"a parenthesis in a name", with_lines("a(b: c\r\n")},
      {"a slash in a name", with_lines("a/b: c\r\n")},
      {"a quote in a name", with_lines("\"a\": c\r\n")},
      {"a byte above 0x7f in a name", with_lines("a\xe9: c\r\n")},
      {"a NUL in a name", with_lines(raw("a\0b: c\r\n", 8))},
      {"a NUL in a value", with_lines(raw("a: b\0c\r\n", 8))},
      {"a NUL at the end of a value", with_lines(raw("a: b\0\r\n", 7))},
      {"0x01 in a value", with_lines("a: b\x01\r\n")},
      {"ESC in a value", with_lines("a: \x1b[0m\r\n")},
      {"DEL in a value", with_lines("a: b\x7f\r\n")},
      {"a bare CR inside a value", with_lines("a: b\rc\r\n")},
      {"a bare CR that hides a field", with_lines("a: b\rTransfer-Encoding: chunked\r\n")},
      {"CR CR LF as line end", with_lines("a: b\r\r\n")},
      {"a bare LF as line end", with_lines("a: b\nc: d\r\n")},
      {"a bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n"},
      {"bare LFs only", "GET / HTTP/1.1\nHost: a\n\n"},
      {"a bare LF as the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n"},
      {"a CR without LF as the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\rX"},
      {"LF CR", "GET / HTTP/1.1\r\nHost: a\n\r\r\n"},
      {"two Hosts that differ", with_lines("Host: b\r\n")},
      {"two Hosts that are the same", with_lines("host: a\r\n")},
      {"no empty line at the end", "GET / HTTP/1.1\r\nHost: a\r\n"},
      {"nothing", ""},
  };
}

std::vector<Bad> ambiguous_framing() {
  auto coding = [](const std::string& value) {
    return Bad{"", with_lines("Transfer-Encoding: " + value + "\r\n"), HeadError::kBadTransferCoding};
  };
  std::vector<Bad> all = {
      {"Content-Length and chunked", with_lines("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n")},
      {"chunked and Content-Length", with_lines("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n")},
      {"Content-Length zero and chunked", with_lines("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n")},
      {"CHUNKED and Content-Length", with_lines("Transfer-Encoding: CHUNKED\r\nContent-Length: 3\r\n")},
      {"two equal Content-Lengths", with_lines("Content-Length: 3\r\nContent-Length: 3\r\n")},
      {"two Content-Lengths that differ", with_lines("Content-Length: 3\r\nContent-Length: 4\r\n")},
      {"a Content-Length list", with_lines("Content-Length: 3, 3\r\n")},
      {"a Content-Length with plus", with_lines("Content-Length: +3\r\n")},
      {"a negative Content-Length", with_lines("Content-Length: -3\r\n")},
      {"a hexadecimal Content-Length", with_lines("Content-Length: 0x3\r\n")},
      {"an empty Content-Length", with_lines("Content-Length:\r\n")},
      {"a blank Content-Length", with_lines("Content-Length:  \t \r\n")},
      {"a Content-Length with a space inside", with_lines("Content-Length: 3 0\r\n")},
      {"a Content-Length with a fraction", with_lines("Content-Length: 3.0\r\n")},
      {"a Content-Length with an exponent", with_lines("Content-Length: 3e1\r\n")},
      {"a quoted Content-Length", with_lines("Content-Length: \"3\"\r\n")},
      {"a Content-Length of 2^64", with_lines("Content-Length: 18446744073709551616\r\n")},
      {"a Content-Length of 2^64 + 3", with_lines("Content-Length: 18446744073709551619\r\n")},
      {"a Content-Length of 40 digits", with_lines("Content-Length: 1000000000000000000000000000000000000003\r\n")},
      {"a vertical tab before chunked", with_lines("Transfer-Encoding: \x0b"
                                                   "chunked\r\n")},
      {"a NUL after chunked", with_lines(raw("Transfer-Encoding: chunked\0\r\n", 29))},
      {"chunked in HTTP/1.0", with_lines("Transfer-Encoding: chunked\r\n", "POST / HTTP/1.0")},
  };
  static const char* const kCodings[] = {
      "chunked, gzip", "gzip, chunked",    "xchunked",        "identity", "",
      "chunked;x",     "chunked, chunked", "chunkedx",        "chunk",    "\"chunked\"",
      "chunked,",      ", chunked",        "chunked chunked", "cow",      "chunked\xc2\xa0"};
  for (const char* value : kCodings) {
    all.push_back(coding(value));
    all.back().what = value;
  }
  all.push_back({"two Transfer-Encoding lines",
                 with_lines("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
                 HeadError::kBadTransferCoding});
  all.push_back({"chunked, then another coding line",
                 with_lines("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n"), HeadError::kBadTransferCoding});
  all.push_back({"another coding line, then chunked",
                 with_lines("Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n"), HeadError::kBadTransferCoding});
  return all;
}

void expect_refused(const std::vector<Bad>& vectors) {
  for (const Bad& bad : vectors) {
    SCOPED_TRACE(bad.what);
    Parsed parsed(bad.bytes);
    EXPECT_EQ(static_cast<int>(parsed.result.error), static_cast<int>(bad.error));
    EXPECT_STRNE(parsed.result.detail, "") << "every refusal names its detail";
  }
}

TEST(RequestHeadTest, refuses_malformed_request_lines) { expect_refused(malformed_request_lines()); }
TEST(RequestHeadTest, refuses_versions_other_than_1_0_and_1_1) { expect_refused(other_versions()); }
TEST(RequestHeadTest, refuses_malformed_fields) { expect_refused(malformed_fields()); }
TEST(RequestHeadTest, refuses_ambiguous_framing) { expect_refused(ambiguous_framing()); }

TEST(RequestHeadTest, names_refusals_as_envoy_does) {
  struct {
    std::string bytes;
    const char* detail;
  } cases[] = {
      {with_lines("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
       "http1.content_length_and_chunked_not_allowed"},
      {with_lines("Transfer-Encoding: gzip\r\n"), "http1.invalid_transfer_encoding"},
      {with_lines("Content-Length: x\r\n"), "http1.codec_error"},
      {with_lines("Content-Length: 3\r\nContent-Length: 3\r\n"), "http1.codec_error"},
      {with_lines("a: b\x01\r\n"), "http1.invalid_characters"},
      {with_lines("Transfer-Encoding: \x0b"
                  "chunked\r\n"),
       "http1.invalid_characters"},
      {with_lines(": b\r\n"), "http1.codec_error"},
      {with_lines("x : b\r\n"), "http1.codec_error"},
      {with_lines("", "GET * HTTP/1.1"), "http1.invalid_url"},
      {with_lines("", "CONNECT b.com HTTP/1.1"), "http1.invalid_url"},
      {with_lines("", "CONNECT /p HTTP/1.1"), "http1.invalid_url"},
      {with_lines("Content-Length: 3\r\n", "CONNECT b.com:443 HTTP/1.1"), "http1.body_disallowed"},
      {with_lines("", "GET ftp://b.com/ HTTP/1.1"), "http1.invalid_scheme"},
      {with_lines("", "GET p HTTP/1.1"), "http1.codec_error"},
      {with_lines("", "GET ?q HTTP/1.1"), "http1.codec_error"},
      {with_lines("", "GET /\x01 HTTP/1.1"), "http1.invalid_characters"},
      {with_lines("", "GET /\x7f HTTP/1.1"), "http1.invalid_characters"},
      {with_lines("", "GET /\xe9 HTTP/1.1"), "http1.codec_error"},
      {with_lines("", "GET / HTTP/2.0"), "low_version"},
      {with_lines("", "GET / HTTP/1.10"), "http1.codec_error"},
      {with_lines("", "get / HTTP/1.1"), "http1.codec_error"},
  };
  for (const auto& c : cases) {
    Parsed parsed(c.bytes);
    EXPECT_STREQ(parsed.result.detail, c.detail) << c.bytes;
  }
}

TEST(RequestHeadTest, takes_an_ordinary_request_apart) {
  Parsed parsed("GET /a/b?c=d HTTP/1.1\r\nHost: A.Example:80\r\nX-One:1\r\nx-TWO: \t two words\t \r\nz:\r\n\r\n");
  ASSERT_EQ(parsed.result.error, HeadError::kNone) << parsed.result.detail;
  EXPECT_EQ(parsed.head.method, "GET");
  EXPECT_EQ(parsed.head.path, "/a/b?c=d");
  EXPECT_EQ(parsed.head.authority, "A.Example:80");
  EXPECT_EQ(parsed.head.protocol, Protocol::kHttp11);
  EXPECT_EQ(parsed.result.info.framing, Framing::kNone);
  EXPECT_TRUE(parsed.result.info.keep_alive);
  EXPECT_FALSE(parsed.result.info.http10);
  ASSERT_EQ(parsed.head.headers.size(), 3u) << "Host is the authority, not a field";
  const Header* field = parsed.head.headers.begin();
  EXPECT_EQ(field[0].name, "x-one");
  EXPECT_EQ(field[0].value, "1");
  EXPECT_EQ(field[1].name, "x-two");
  EXPECT_EQ(field[1].value, "two words");
  EXPECT_EQ(field[2].name, "z");
  EXPECT_EQ(field[2].value, "");
}

TEST(RequestHeadTest, takes_what_is_odd_but_unambiguous) {
  struct {
    const char* what;
    std::string bytes;
  } cases[] = {
      {"every token character in a name", with_lines("x!#$%&'*+-.^_`|~9: v\r\n")},
      {"an underscore in a name", with_lines("a_b: v\r\n")},
      {"bytes above 0x7f in a value", with_lines("a: \xff\x80\xe9\r\n")},
      {"a tab inside a value", with_lines("a: b\tc\r\n")},
      {"colons in a value", with_lines("a:: b: c\r\n")},
      {"a field twice", with_lines("a: b\r\na: c\r\n")},
      {"an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n"},
      {"no Host, which is for the caller to answer", "GET / HTTP/1.1\r\n\r\n"},
      {"odd characters in the target", with_lines("", "GET /p\"<>\\^`{|}?[]|^ HTTP/1.1")},
      {"a bad percent sequence in the target", with_lines("", "GET /%zz HTTP/1.1")},
      {"asterisk-form of OPTIONS", with_lines("", "OPTIONS * HTTP/1.1")},
      {"a Content-Length with leading zeros", with_lines("Content-Length: 03\r\n")},
      {"a long path", with_lines("", "GET /" + std::string(50000, 'x') + " HTTP/1.1")},
  };
  for (const auto& c : cases) {
    Parsed parsed(c.bytes);
    EXPECT_EQ(static_cast<int>(parsed.result.error), 0) << c.what << ": " << parsed.result.detail;
  }
}

TEST(RequestHeadTest, says_how_the_body_is_framed) {
  struct {
    std::string lines;
    Framing framing;
    uint64_t length;
  } cases[] = {
      {"", Framing::kNone, 0},
      {"Content-Length: 0\r\n", Framing::kNone, 0},
      {"Content-Length: 3\r\n", Framing::kLength, 3},
      {"Content-Length:  003 \r\n", Framing::kLength, 3},
      {"Content-Length: 999999999999999999\r\n", Framing::kLength, 999999999999999999ull},
      {"Transfer-Encoding: chunked\r\n", Framing::kChunked, 0},
      {"transfer-encoding:\tCHUNKED \r\n", Framing::kChunked, 0},
      {"Transfer-Encoding: Chunked\r\n", Framing::kChunked, 0},
  };
  for (const char* method : {"POST", "GET", "DELETE", "HEAD"}) {
    for (const auto& c : cases) {
      Parsed parsed(with_lines(c.lines, std::string(method) + " /p HTTP/1.1"));
      ASSERT_EQ(parsed.result.error, HeadError::kNone) << method << c.lines;
      EXPECT_EQ(static_cast<int>(parsed.result.info.framing), static_cast<int>(c.framing)) << method << c.lines;
      EXPECT_EQ(parsed.result.info.content_length, c.length) << method << c.lines;
    }
  }
}

TEST(RequestHeadTest, knows_whether_the_connection_stays) {
  struct {
    const char* version;
    const char* lines;
    bool keep_alive;
  } cases[] = {
      {"1.1", "", true},
      {"1.1", "Connection: close\r\n", false},
      {"1.1", "Connection: CLOSE\r\n", false},
      {"1.1", "Connection: x-foo, Close\r\n", false},
      {"1.1", "Connection: x-foo ,close,\r\n", false},
      {"1.1", "Connection: x-foo\r\nConnection: close\r\n", false},
      {"1.1", "Connection: keep-alive, close\r\n", false},
      {"1.1", "Connection: closed\r\n", true},
      {"1.1", "Connection: x-close\r\n", true},
      {"1.1", "Connection: keep-alive\r\n", true},
      {"1.1", "Proxy-Connection: close\r\n", false},
      {"1.0", "", false},
      {"1.0", "Connection: Keep-Alive\r\n", true},
      {"1.0", "Connection: keep-alive, close\r\n", false},
  };
  for (const auto& c : cases) {
    Parsed parsed(with_lines(c.lines, std::string("GET / HTTP/") + c.version));
    ASSERT_EQ(parsed.result.error, HeadError::kNone) << c.lines;
    EXPECT_EQ(parsed.result.info.keep_alive, c.keep_alive) << c.version << " " << c.lines;
    EXPECT_EQ(parsed.result.info.http10, std::string(c.version) == "1.0");
  }
}

TEST(RequestHeadTest, hears_expect_100_continue) {
  EXPECT_TRUE(Parsed(with_lines("Expect: 100-continue\r\n")).result.info.expect_continue);
  EXPECT_TRUE(Parsed(with_lines("Expect: 100-CONTINUE\r\n")).result.info.expect_continue);
  EXPECT_FALSE(Parsed(with_lines("Expect: foo\r\n")).result.info.expect_continue);
  EXPECT_FALSE(Parsed(with_lines("")).result.info.expect_continue);
  EXPECT_FALSE(Parsed(with_lines("Expect: 100-continue\r\n", "POST / HTTP/1.0")).result.info.expect_continue);
}

TEST(RequestHeadTest, counts_fields_against_the_limit) {
  for (uint32_t limit : {1u, 2u, 100u}) {
    for (uint32_t count : {limit - 1, limit, limit + 1}) {
      std::string text = "GET / HTTP/1.1\r\n";
      for (uint32_t i = 0; i < count; i++) text += i == 0 ? "Host: a\r\n" : "x: y\r\n";
      Parsed parsed(text + "\r\n", limit);
      EXPECT_EQ(static_cast<int>(parsed.result.error),
                static_cast<int>(count > limit ? HeadError::kHeadersTooMany : HeadError::kNone))
          << count << " of " << limit;
      EXPECT_STREQ(parsed.result.detail, count > limit ? "http1.too_many_headers" : "");
    }
  }
}

TEST(RequestHeadTest, survives_every_truncation_and_every_changed_byte) {
  const std::string good = "POST http://b/p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nx: y\r\n\r\n";
  for (size_t n = 0; n < good.size(); n++) EXPECT_NE(Parsed(good.substr(0, n)).result.error, HeadError::kNone) << n;
  for (size_t at = 0; at < good.size(); at++) {
    for (int byte = 0; byte < 256; byte++) {
      std::string text = good;
      text[at] = static_cast<char>(byte);
      Parsed parsed(text);
      if (parsed.result.error == HeadError::kNone) {
        for (const Header& field : parsed.head.headers) {
          EXPECT_TRUE(is_token(field.name));
          EXPECT_TRUE(is_field_value(field.value));
        }
      }
    }
  }
}

}  // namespace
}  // namespace pinnace::http::h1
