#include "proxy/upstream/grpc_stats.h"

#include <gtest/gtest.h>

namespace pinnace::upstream {
namespace {

class GrpcStatsTest : public testing::Test {
 protected:
  uint64_t value(const std::string& name) { return store_.value("cluster.c." + name); }
  size_t count() {
    size_t n = 0;
    store_.each([&](const stats::Sample&) { n++; });
    return n;
  }

  stats::Store store_;
  stats::Cells& cells_ = store_.add_thread();
  GrpcStats stats_{store_, "cluster.c."};
};

TEST_F(GrpcStatsTest, a_status_counts_with_success_or_failure_and_total) {
  for (auto status : {"0", "0", "5", "16", "17", "00", "banana", "-1", "1000", ""}) {
    stats_.answered(cells_, "grpc.", status);
  }
  EXPECT_EQ(value("grpc.0"), 2u);
  EXPECT_EQ(value("grpc.5") + value("grpc.16") + value("grpc.17") + value("grpc.00"), 4u);
  EXPECT_EQ(value("grpc.success"), 2u);
  EXPECT_EQ(value("grpc.failure"), 7u);
  EXPECT_EQ(value("grpc.total"), 9u);
  EXPECT_EQ(count(), 8u) << "what is no number has no name of its own";
}

TEST_F(GrpcStatsTest, nothing_is_made_before_it_is_needed) {
  EXPECT_EQ(count(), 0u);
  stats_.request_messages(cells_, "grpc.", 3);
  stats_.response_messages(cells_, "grpc.s.m.", 2);
  stats_.took(cells_, "grpc.", 7);
  EXPECT_EQ(value("grpc.request_message_count"), 3u);
  EXPECT_EQ(value("grpc.s.m.response_message_count"), 2u);
  EXPECT_EQ(count(), 3u);
}

TEST_F(GrpcStatsTest, methods_that_are_too_many_count_without_their_names) {
  size_t most = GrpcStats::kMostMethods + 50;
  for (size_t i = 0; i < most; i++) stats_.request_messages(cells_, "grpc.s.m" + std::to_string(i) + ".", 1);
  EXPECT_EQ(value("grpc.s.m0.request_message_count"), 1u);
  EXPECT_EQ(value("grpc.request_message_count"), 50u);
  EXPECT_EQ(count(), GrpcStats::kMostMethods + 1);
}

}  // namespace
}  // namespace pinnace::upstream
