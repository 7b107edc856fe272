#include "proxy/http/grpc.h"

#include <gtest/gtest.h>

namespace pinnace::http {
namespace {

using namespace std::string_view_literals;

base::Bytes bytes(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

TEST(GrpcMethod, is_two_parts_whatever_the_slashes) {
  for (auto path : {"/a.b/c", "a.b/c", "//a.b//c//", "/a.b/c?x=/y"}) {
    auto method = grpc_method(path);
    ASSERT_TRUE(method) << path;
    EXPECT_EQ(method->service, "a.b");
    EXPECT_EQ(method->method, "c");
  }
  for (auto path : {"", "/", "/a", "/a/", "/a/b/c", "/?/a/b", "?/a/b"}) EXPECT_FALSE(grpc_method(path)) << path;
}

TEST(GrpcFrames, messages_are_counted_where_they_begin_however_they_are_cut) {
  auto body = "\0\0\0\0\0\1\0\0\0\3abc\0\0\0\1\2"sv;  // empty; compressed with three bytes; the beginning of a long one
  for (size_t piece = 1; piece <= body.size(); piece++) {
    GrpcFrames frames;
    uint32_t count = 0;
    for (size_t i = 0; i < body.size(); i += piece) count += frames.count(bytes(body.substr(i, piece)));
    EXPECT_EQ(count, 3u) << piece;
    EXPECT_FALSE(frames.between());
  }
}

TEST(GrpcFrames, take_ends_with_the_message) {
  GrpcFrames frames;
  auto body = "\0\0\0\0\2ab\0"sv;
  EXPECT_EQ(frames.take(bytes(body)), 7u);
  EXPECT_TRUE(frames.between());
  EXPECT_EQ(frames.take(bytes(body.substr(7))), 1u);
  EXPECT_FALSE(frames.between());
}

}  // namespace
}  // namespace pinnace::http
