#include "proxy/http/h1/body_reader.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pinnace::http::h1 {
namespace {

using Event = BodyReader::Event;

struct Read {
  std::string body;
  std::string left;  // input not used
  std::string trailers;
  Event end = Event::kNeedMore;
};

// Feeds `pieces` one after the other until the message ends or breaks.
Read read(const HeadInfo& info, const std::vector<std::string_view>& pieces) {
  BodyReader reader;
  reader.start(info);
  Read result;
  for (std::string_view piece : pieces) {
    Bytes in{reinterpret_cast<const uint8_t*>(piece.data()), piece.size()};
    if (result.end != Event::kNeedMore) {
      result.left += piece;
      continue;
    }
    for (;;) {
      Bytes data;
      Event event = reader.next(in, data);
      if (event == Event::kData) {
        EXPECT_FALSE(data.empty()) << "an empty part is no part";
        result.body.append(reinterpret_cast<const char*>(data.data()), data.size());
        continue;
      }
      if (event == Event::kNeedMore) {
        EXPECT_TRUE(in.empty());
        break;
      }
      result.end = event;
      result.left.assign(reinterpret_cast<const char*>(in.data()), in.size());
      result.trailers = reader.trailers();
      break;
    }
  }
  return result;
}

HeadInfo chunked() {
  HeadInfo info;
  info.framing = Framing::kChunked;
  return info;
}

HeadInfo length(uint64_t n) {
  HeadInfo info;
  info.framing = Framing::kLength;
  info.content_length = n;
  return info;
}

Read read_chunked(std::string_view bytes) { return read(chunked(), {bytes}); }

TEST(BodyReaderTest, a_message_without_body_ends_at_once) {
  Read result = read(HeadInfo(), {"GET /"});
  EXPECT_EQ(result.end, Event::kDone);
  EXPECT_EQ(result.left, "GET /");
}

TEST(BodyReaderTest, counts_a_length_in_every_split_and_leaves_the_rest) {
  const std::string_view bytes = "hello worldGET / HTTP/1.1";
  for (size_t at = 0; at <= bytes.size(); at++) {
    Read result = read(length(11), {bytes.substr(0, at), bytes.substr(at)});
    EXPECT_EQ(result.end, Event::kDone) << at;
    EXPECT_EQ(result.body, "hello world") << at;
    EXPECT_EQ(result.left, "GET / HTTP/1.1") << at;
  }
  EXPECT_EQ(read(length(11), {bytes.substr(0, 10)}).end, Event::kNeedMore);
}

TEST(BodyReaderTest, tells_how_much_of_a_length_is_still_to_come) {
  BodyReader reader;
  reader.start(length(5));
  EXPECT_EQ(reader.left(), 5u);
  const uint8_t bytes[] = {1, 2, 3};
  Bytes in(bytes), data;
  EXPECT_EQ(reader.next(in, data), Event::kData);
  EXPECT_EQ(reader.left(), 2u);
}

TEST(BodyReaderTest, takes_everything_until_close) {
  HeadInfo info;
  info.framing = Framing::kUntilClose;
  Read result = read(info, {"a", "", "bc\r\n0\r\n\r\n"});
  EXPECT_EQ(result.end, Event::kNeedMore);
  EXPECT_EQ(result.body, "abc\r\n0\r\n\r\n");
}

TEST(BodyReaderTest, takes_chunks_apart_in_every_split) {
  struct {
    std::string_view bytes;
    std::string body, trailers;
    Event end;
  } cases[] = {
      {"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\n\r\nNEXT", "abcde", "\r\n", Event::kDone},
      {"0A \r\n0123456789\r\n000;x=\"y;\\\"\r\n\r\nNEXT", "0123456789", "\r\n", Event::kDone},
      {"1\r\n\r\r\n1\r\n\n\r\n0\r\nA: b\r\nc: d\r\n\r\nNEXT", "\r\n", "A: b\r\nc: d\r\n\r\n", Event::kTrailers},
  };
  for (const auto& c : cases) {
    size_t size = c.bytes.size();
    for (size_t i = 0; i <= size; i++) {
      for (size_t j = i; j <= size; j++) {
        Read result = read(chunked(), {c.bytes.substr(0, i), c.bytes.substr(i, j - i), c.bytes.substr(j)});
        ASSERT_EQ(result.end, c.end) << c.bytes << " " << i << " " << j;
        ASSERT_EQ(result.body, c.body) << c.bytes << " " << i << " " << j;
        ASSERT_EQ(result.left, "NEXT") << c.bytes << " " << i << " " << j;
        ASSERT_EQ(result.trailers, c.trailers);
      }
    }
  }
}

TEST(BodyReaderTest, takes_chunks_apart_byte_by_byte) {
  const std::string_view bytes = "5\r\nhello\r\n0\r\nt: v\r\n\r\n";
  std::vector<std::string_view> pieces;
  for (size_t i = 0; i < bytes.size(); i++) pieces.push_back(bytes.substr(i, 1));
  Read result = read(chunked(), pieces);
  EXPECT_EQ(result.end, Event::kTrailers);
  EXPECT_EQ(result.body, "hello");
  EXPECT_EQ(result.trailers, "t: v\r\n\r\n");
}

TEST(BodyReaderTest, takes_odd_but_valid_chunk_lines) {
  for (const char* line :
       {"3", "3 ", "3\t", "3;foo=bar", "3 ; foo=\"b;\\\"r\"", "0003", "000000000000003", "3;", "3;a;b;c"}) {
    Read result = read_chunked(std::string(line) + "\r\nabc\r\n0\r\n\r\n");
    EXPECT_EQ(result.end, Event::kDone) << line;
    EXPECT_EQ(result.body, "abc") << line;
  }
  EXPECT_EQ(read_chunked("A\r\n0123456789\r\n0\r\n\r\n").body, "0123456789");
  EXPECT_EQ(read_chunked("a\r\n0123456789\r\n0\r\n\r\n").body, "0123456789");
}

TEST(BodyReaderTest, refuses_broken_chunk_framing) {
  struct {
    const char* what;
    std::string bytes;
  } cases[] = {
      {"a leading space", " 3\r\nabc\r\n0\r\n\r\n"},
      {"a 0x prefix", "0x3\r\nabc\r\n0\r\n\r\n"},
      {"a plus sign", "+3\r\nabc\r\n0\r\n\r\n"},
      {"a minus sign", "-1\r\nabc\r\n0\r\n\r\n"},
      {"no hex digit", "ZZ\r\nabc\r\n0\r\n\r\n"},
      {"an empty size", "\r\nabc\r\n0\r\n\r\n"},
      {"only an extension", ";x\r\nabc\r\n0\r\n\r\n"},
      {"an underscore in the size", "1_0\r\n"},
      {"two sizes", "3 3\r\nabc\r\n0\r\n\r\n"},
      {"a comma", "3,\r\nabc\r\n0\r\n\r\n"},
      {"a bare LF after the size", "3\nabc\r\n0\r\n\r\n"},
      {"a bare CR after the size", "3\rabc\r\n0\r\n\r\n"},
      {"two CRs after the size", "3\r\r\nabc\r\n0\r\n\r\n"},
      {"a bare LF in an extension", "3;a\nabc\r\n0\r\n\r\n"},
      {"a bare CR in an extension", "3;a\rb\r\nabc\r\n0\r\n\r\n"},
      {"a NUL in an extension", std::string("3;a\0b\r\nabc\r\n0\r\n\r\n", 17)},
      {"DEL in an extension", "3;a\x7f\r\nabc\r\n0\r\n\r\n"},
      {"no CRLF after the data", "3\r\nabc0\r\n\r\n"},
      {"a byte before the CRLF", "3\r\nabcd\r\n0\r\n\r\n"},
      {"a bare LF after the data", "3\r\nabc\n0\r\n\r\n"},
      {"a bare CR after the data", "3\r\nabc\r0\r\n\r\n"},
      {"a bare LF after the last chunk", "0\n\r\n"},
      {"a bare LF as the last line", "0\r\n\n"},
      {"a trailer ended by a bare LF", "0\r\na: b\n\r\n"},
      {"trailers ended by a bare LF", "0\r\na: b\r\n\n"},
      {"17 hex digits", "10000000000000003\r\nabc\r\n0\r\n\r\n"},
      {"2^64", "10000000000000000\r\nabc\r\n0\r\n\r\n"},
      {"40 hex digits", "ffffffffffffffffffffffffffffffffffffffff\r\n"},
  };
  for (const auto& c : cases) EXPECT_EQ(read_chunked(c.bytes).end, Event::kError) << c.what;
}

TEST(BodyReaderTest, reads_large_sizes_without_overflow) {
  BodyReader reader;
  reader.start(chunked());
  const std::string_view bytes = "fffffffffffffff\r\nx";
  Bytes in{reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, data;
  EXPECT_EQ(reader.next(in, data), Event::kData);
  EXPECT_EQ(data.size(), 1u);
}

TEST(BodyReaderTest, bounds_the_chunk_size_line) {
  EXPECT_EQ(read_chunked("3;" + std::string(100, 'x') + "\r\nabc\r\n0\r\n\r\n").end, Event::kDone);
  EXPECT_EQ(read_chunked("3;" + std::string(20000, 'x') + "\r\nabc\r\n0\r\n\r\n").end, Event::kError);
  EXPECT_EQ(read_chunked("3" + std::string(20000, ' ') + "\r\nabc\r\n0\r\n\r\n").end, Event::kError);
  EXPECT_EQ(read_chunked(std::string(20000, '0')).end, Event::kError);
  // Every line anew: many short extensions are no long one.
  std::string many;
  for (int i = 0; i < 1000; i++) many += "1;extension\r\nx\r\n";
  Read result = read_chunked(many + "0\r\n\r\n");
  EXPECT_EQ(result.end, Event::kDone);
  EXPECT_EQ(result.body.size(), 1000u);
}

TEST(BodyReaderTest, bounds_the_trailer_section) {
  EXPECT_EQ(read_chunked("0\r\na: " + std::string(59 * 1024, 'x') + "\r\n\r\n").end, Event::kTrailers);
  EXPECT_EQ(read_chunked("0\r\na: " + std::string(61 * 1024, 'x') + "\r\n\r\n").end, Event::kError);
  std::string many = "0\r\n";
  while (many.size() < 70 * 1024) many += "a: b\r\n";
  EXPECT_EQ(read_chunked(many).end, Event::kError);
}

TEST(BodyReaderTest, waits_for_the_last_crlf) {
  EXPECT_EQ(read_chunked("3\r\nabc\r\n0\r\n").end, Event::kNeedMore);
  EXPECT_EQ(read_chunked("3\r\nabc\r\n0\r\n\r").end, Event::kNeedMore);
  EXPECT_EQ(read_chunked("3\r\nabc\r\n0\r\na: b\r\n").end, Event::kNeedMore);
}

TEST(BodyReaderTest, starts_afresh_for_the_next_message) {
  BodyReader reader;
  for (const char* message : {"1;x\r\na\r\n0\r\nt: v\r\n\r\n", "2\r\nab\r\n0\r\n\r\n", "1\r\na"}) {
    reader.start(chunked());
    EXPECT_TRUE(reader.trailers().empty());
    Bytes in{reinterpret_cast<const uint8_t*>(message), std::string_view(message).size()}, data;
    Event event;
    do event = reader.next(in, data);
    while (event == Event::kData);
    EXPECT_NE(event, Event::kError) << message;
  }
  reader.start(length(1));
  Bytes in{reinterpret_cast<const uint8_t*>("ab"), 2}, data;
  EXPECT_EQ(reader.next(in, data), Event::kData);
  EXPECT_EQ(reader.next(in, data), Event::kDone);
  EXPECT_EQ(in.size(), 1u);
}

}  // namespace
}  // namespace pinnace::http::h1
