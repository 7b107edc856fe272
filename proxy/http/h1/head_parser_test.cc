// Finding the end of a head, responses, trailers and the two character classes.
#include "proxy/http/h1/head_parser.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pinnace::http::h1 {
namespace {

TEST(HeadEndTest, is_found_across_every_split) {
  const std::string head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  const std::string bytes = head + "body\r\n\r\nmore";
  for (size_t first = 0; first <= bytes.size(); first++) {
    for (size_t second = first; second <= bytes.size(); second++) {
      size_t scanned = 0;
      size_t found = find_head_end(std::string_view(bytes).substr(0, first), scanned);
      EXPECT_EQ(found, first >= head.size() ? head.size() : 0);
      if (found == 0) found = find_head_end(std::string_view(bytes).substr(0, second), scanned);
      EXPECT_EQ(found, second >= head.size() ? head.size() : 0) << first << " " << second;
    }
  }
}

TEST(HeadEndTest, is_found_byte_by_byte) {
  const std::string head = "A\r\nB\r\r\n\rC\r\n\r\n";
  size_t scanned = 0;
  for (size_t n = 1; n < head.size(); n++)
    ASSERT_EQ(find_head_end(std::string_view(head).substr(0, n), scanned), 0u) << n;
  EXPECT_EQ(find_head_end(head, scanned), head.size());
}

TEST(HeadEndTest, takes_a_bare_lf_for_a_line_end_so_that_the_parser_sees_it) {
  for (const char* head : {"A\n\n", "A\r\n\n", "A\n\r\n", "\n", "\r\n"}) {
    size_t scanned = 0;
    EXPECT_EQ(find_head_end(std::string(head) + "rest\n\n", scanned), std::string(head).size()) << head;
  }
}

TEST(HeadEndTest, counts_leading_empty_lines) {
  EXPECT_EQ(leading_empty_lines("GET"), 0u);
  EXPECT_EQ(leading_empty_lines("\r\nGET"), 2u);
  EXPECT_EQ(leading_empty_lines("\r\n\r\n\r\nGET"), 6u);
  EXPECT_EQ(leading_empty_lines("\r\n\r"), 2u);
  EXPECT_EQ(leading_empty_lines("\r"), 0u);
  EXPECT_EQ(leading_empty_lines(""), 0u);
  EXPECT_EQ(leading_empty_lines(" \r\n"), 0u);
}

struct Parsed {
  explicit Parsed(std::string bytes, bool to_head = false)
      : text(std::move(bytes)),
        arena(pool),
        head(arena),
        result(parse_response(text.data(), text.size(), HeadLimits(), to_head, head)) {}

  std::string text;
  base::BlockPool pool;
  base::Arena arena;
  ResponseHead head;
  HeadResult result;
};

TEST(ResponseHeadTest, says_how_the_body_is_framed) {
  struct {
    const char* bytes;
    bool to_head;
    int status;
    Framing framing;
    uint64_t length;
    bool keep_alive;
  } cases[] = {
      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", false, 200, Framing::kLength, 2, true},
      {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, 200, Framing::kNone, 0, true},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", false, 200, Framing::kChunked, 0, true},
      {"HTTP/1.1 200 OK\r\n\r\n", false, 200, Framing::kUntilClose, 0, false},
      {"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n", false, 200, Framing::kUntilClose, 0, false},
      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n", false, 200, Framing::kLength, 2, false},
      {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", false, 200, Framing::kLength, 2, false},
      {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n", false, 200, Framing::kLength, 2, true},
      {"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\n", false, 200, Framing::kLength, 2, false},
      {"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n", false, 200, Framing::kLength, 2, false},
      {"HTTP/1.1 204 No Content\r\n\r\n", false, 204, Framing::kNone, 0, true},
      {"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", false, 204, Framing::kNone, 0, true},
      {"HTTP/1.1 304 Not Modified\r\n\r\n", false, 304, Framing::kNone, 0, true},
      {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, 304, Framing::kNone, 5, true},
      {"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", false, 304, Framing::kNone, 0, true},
      {"HTTP/1.1 100 Continue\r\n\r\n", false, 100, Framing::kNone, 0, true},
      {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", false, 103, Framing::kNone, 0, true},
      {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", false, 101, Framing::kNone, 0, true},
      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", true, 200, Framing::kNone, 2, true},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true, 200, Framing::kNone, 0, true},
      {"HTTP/1.1 200 OK\r\n\r\n", true, 200, Framing::kNone, 0, true},
      {"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n", false, 200, Framing::kLength, 2, true},
      {"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n", false, 200, Framing::kLength, 2, true},
      {"HTTP/1.1 999 Weird \xff reason\r\nContent-Length: 2\r\n\r\n", false, 999, Framing::kLength, 2, true},
      {"HTTP/1.1 205 Reset\r\nContent-Length: 2\r\n\r\n", false, 205, Framing::kLength, 2, true},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.bytes);
    Parsed parsed(c.bytes, c.to_head);
    ASSERT_EQ(parsed.result.error, HeadError::kNone) << parsed.result.detail;
    EXPECT_EQ(parsed.head.status, c.status);
    EXPECT_EQ(static_cast<int>(parsed.result.info.framing), static_cast<int>(c.framing));
    EXPECT_EQ(parsed.result.info.content_length, c.length);
    EXPECT_EQ(parsed.result.info.keep_alive, c.keep_alive);
  }
}

TEST(ResponseHeadTest, refuses_what_is_malformed_or_ambiguous) {
  struct {
    const char* what;
    const char* bytes;
  } cases[] = {
      {"no status", "HTTP/1.1 \r\n\r\n"},
      {"a status of letters", "HTTP/1.1 abc OK\r\n\r\n"},
      {"a status of two digits", "HTTP/1.1 20 OK\r\n\r\n"},
      {"a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n"},
      {"a signed status", "HTTP/1.1 +20 OK\r\n\r\n"},
      {"a status below 100", "HTTP/1.1 099 OK\r\n\r\n"},
      {"no space before the status", "HTTP/1.1200 OK\r\n\r\n"},
      {"a shoutcast status line", "ICY 200 OK\r\n\r\n"},
      {"an unknown version", "HTTP/x.1 200 OK\r\n\r\n"},
      {"a version without minor number", "HTTP/2 200 OK\r\n\r\n"},
      {"a leading space", " HTTP/1.1 200 OK\r\n\r\n"},
      {"a leading empty line", "\r\nHTTP/1.1 200 OK\r\n\r\n"},
      {"a bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"},
      {"a control byte in the reason", "HTTP/1.1 200 O\x01K\r\n\r\n"},
      {"a CR in the reason", "HTTP/1.1 200 O\rK\r\n\r\n"},
      {"Content-Length and chunked", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"},
      {"two Content-Lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n"},
      {"a Content-Length list", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n"},
      {"a signed Content-Length", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n"},
      {"gzip, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"},
      {"identity", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n"},
      {"gzip until close", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"},
      {"two Transfer-Encodings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"},
      {"chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
      {"204 with chunked", "HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n"},
      {"204 with a length", "HTTP/1.1 204 x\r\nContent-Length: 3\r\n\r\n"},
      {"100 with chunked", "HTTP/1.1 100 x\r\nTransfer-Encoding: chunked\r\n\r\n"},
      {"100 with a length", "HTTP/1.1 100 x\r\nContent-Length: 3\r\n\r\n"},
      {"101 with a length", "HTTP/1.1 101 x\r\nContent-Length: 3\r\n\r\n"},
      {"a folded value", "HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n"},
      {"a space before the colon", "HTTP/1.1 200 OK\r\nx : a\r\n\r\n"},
      {"no colon", "HTTP/1.1 200 OK\r\nxyz\r\n\r\n"},
      {"an empty name", "HTTP/1.1 200 OK\r\n: a\r\n\r\n"},
      {"a control byte in a value", "HTTP/1.1 200 OK\r\nx: \x02\r\n\r\n"},
  };
  for (const auto& c : cases) EXPECT_NE(Parsed(c.bytes).result.error, HeadError::kNone) << c.what;
}

TEST(ResponseHeadTest, keeps_fields_in_order_and_lowers_their_names) {
  Parsed parsed("HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nX-Y: z\r\nSET-COOKIE: b\r\nContent-Length: 0\r\n\r\n");
  ASSERT_EQ(parsed.result.error, HeadError::kNone);
  std::string all;
  for (const Header& field : parsed.head.headers) all += std::string(field.name) + "=" + std::string(field.value) + ";";
  EXPECT_EQ(all, "set-cookie=a;x-y=z;set-cookie=b;content-length=0;");
}

HeadError trailers(std::string text, std::string* fields = nullptr, uint32_t limit = 100) {
  base::BlockPool pool;
  base::Arena arena(pool);
  HeaderMap map(arena);
  HeadResult result = parse_trailers(text.data(), text.size(), {limit}, map);
  if (fields) {
    for (const Header& field : map) *fields += std::string(field.name) + "=" + std::string(field.value) + ";";
  }
  return result.error;
}

TEST(TrailersTest, are_fields_without_a_first_line) {
  std::string fields;
  EXPECT_EQ(trailers("\r\n", &fields), HeadError::kNone);
  EXPECT_EQ(fields, "");
  EXPECT_EQ(trailers("Grpc-Status: 0\r\nx:\r\n\r\n", &fields), HeadError::kNone);
  EXPECT_EQ(fields, "grpc-status=0;x=;");
}

TEST(TrailersTest, are_validated_and_counted) {
  for (const char* bad : {"x\r\n\r\n", "x : y\r\n\r\n", ": y\r\n\r\n", "x: y\n\r\n", "x: a\r\n b\r\n\r\n",
                          "x: \x01\r\n\r\n", "x(: y\r\n\r\n", "x: y\r\n", ":path: /\r\n\r\n"}) {
    EXPECT_EQ(trailers(bad), HeadError::kMalformed) << bad;
  }
  EXPECT_EQ(trailers("a: b\r\nc: d\r\n\r\n", nullptr, 2), HeadError::kNone);
  EXPECT_EQ(trailers("a: b\r\nc: d\r\ne: f\r\n\r\n", nullptr, 2), HeadError::kHeadersTooMany);
}

TEST(FieldCharactersTest, are_those_of_rfc_9110) {
  const std::string extra = "!#$%&'*+-.^_`|~";
  for (int c = 0; c < 256; c++) {
    std::string text = "a" + std::string(1, static_cast<char>(c));
    bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    EXPECT_EQ(is_token(text), alnum || (c != 0 && extra.find(static_cast<char>(c)) != std::string::npos)) << c;
    EXPECT_EQ(is_field_value(text), c == '\t' || (c >= 0x20 && c != 0x7f)) << c;
  }
  EXPECT_FALSE(is_token(""));
  EXPECT_TRUE(is_field_value(""));
}

}  // namespace
}  // namespace pinnace::http::h1
