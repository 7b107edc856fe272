#include "filters/cel/expression.h"

#include <gtest/gtest.h>

namespace pinnace::filters::cel {
namespace {

std::string evaluated(std::string_view text) {
  envoy::config::core::v3::Node node;
  node.set_id("sidecar~1");
  auto& labels = *(*node.mutable_metadata()->mutable_fields())["LABELS"].mutable_struct_value()->mutable_fields();
  labels["app"].set_string_value("shop");
  http::StreamInfo info;
  info.response_code = 404;
  auto expression = Expression::compile(text, node);
  if (!expression) return "refused: " + expression.error().message;
  Expression::Scratch scratch;
  Value value = expression->evaluate({info}, scratch);
  return value.failed() ? "error" : value.print();
}

// What a real Envoy makes of expressions is in tests/peer/test_access_log_filters_with_envoy.py.
TEST(Expression, ComesToTextForALabel) {
  EXPECT_EQ(evaluated("string(response.code)"), "404");
  EXPECT_EQ(evaluated("response.code"), "404");
  EXPECT_EQ(evaluated("'code ' + string(response.code / 100) + 'xx'"), "code 4xx");
  EXPECT_EQ(evaluated("response.code >= 400 ? 'bad' : 'good'"), "bad");
  EXPECT_EQ(evaluated("xds.node.metadata['LABELS']['app']"), "shop");
  EXPECT_EQ(evaluated("xds.node.metadata.LABELS.app"), "shop");
  EXPECT_EQ(evaluated("1.5 * 2.0"), "3");
  EXPECT_EQ(evaluated("null"), "NULL");
}

TEST(Expression, AnErrorIsAValueOfItsOwn) {
  EXPECT_EQ(evaluated("request.path"), "error");  // there is no request
  EXPECT_EQ(evaluated("xds.node.metadata['NONE']"), "error");
  EXPECT_EQ(evaluated("1 + 'a'"), "error");
  EXPECT_EQ(evaluated("1 / 0"), "error");
  EXPECT_EQ(evaluated("-9223372036854775807 - 2"), "error");
}

TEST(Expression, WhatItDoesNotKnowIsRefusedWithItsPlace) {
  EXPECT_EQ(evaluated("1 +"), "refused: '1 +': column 4: the expression ends too early");
  EXPECT_EQ(evaluated("request.nothing"),
            "refused: 'request.nothing': column 16: attribute 'request.nothing' is not supported");
  EXPECT_EQ(evaluated("a.b.c()"), "refused: 'a.b.c()': column 4: attribute 'a.b' is not supported");
  EXPECT_EQ(evaluated("'x"),
            "refused: ''x': column 3: a string that does not end, or an escape in it that is not supported");
  EXPECT_EQ(evaluated("1 2"), "refused: '1 2': column 3: '2' is not expected");
  EXPECT_EQ(evaluated("1.2.3"), "refused: '1.2.3': column 1: a number that is none");
  EXPECT_EQ(evaluated("1 in 2"), "refused: '1 in 2': column 7: a list or a map is expected after 'in'");
}

TEST(Expression, DepthAndLengthAreBounded) {
  EXPECT_TRUE(evaluated(std::string(1000, '(') + "1" + std::string(1000, ')')).starts_with("refused"));
  EXPECT_TRUE(evaluated(std::string(1000, '!') + "true").starts_with("refused"));
  EXPECT_TRUE(evaluated(std::string(5000, ' ')).starts_with("refused"));
}

}  // namespace
}  // namespace pinnace::filters::cel
