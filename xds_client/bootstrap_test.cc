// yaml_to_json: what Envoy's bootstrap files contain, as protobuf JSON. No file is read here.
#include "xds_client/bootstrap.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <string>

namespace pinnace::xds {
namespace {

std::string json(const std::string& text) {
  auto converted = yaml_to_json(text, "file.yaml");
  return converted ? *converted : "error: " + converted.error().message;
}

// The value under "a".
std::string value(const std::string& text) {
  std::string all = json(text);
  if (all.substr(0, 5) != "{\"a\":" || all.back() != '}') return all;
  return all.substr(5, all.size() - 6);
}

TEST(YamlToJsonTest, keeps_scalars_what_they_are) {
  struct {
    const char* yaml;
    const char* json;
  } cases[] = {
      {"a: 1", "1"},
      {"a: -17", "-17"},
      {"a: 0", "0"},
      {"a: 0.25", "0.25"},
      {"a: 1e3", "1e3"},
      {"a: 18446744073709551615", "18446744073709551615"},
      {"a: true", "true"},
      {"a: false", "false"},
      {"a: null", "null"},
      {"a: ~", "null"},
      {"a:", "null"},
      {"a: text", "\"text\""},
      {"a: \"1\"", "\"1\""},
      {"a: '1'", "\"1\""},
      {"a: \"true\"", "\"true\""},
      {"a: 'null'", "\"null\""},
      {"a: \"\"", "\"\""},
      {"a: 1s", "\"1s\""},
      {"a: 0.25s", "\"0.25s\""},
      {"a: 1.2.3.4", "\"1.2.3.4\""},
      {"a: 007", "\"007\""},
      {"a: 0x10", "\"0x10\""},
      {"a: +1", "\"+1\""},
      {"a: 1.", "\"1.\""},
      {"a: .5", "\".5\""},
      {"a: 12ab", "\"12ab\""},
      {"a: a: b", "error"},
      {"{\"a\": \"x\"}", "\"x\""},
      {"{\"a\": 5}", "5"},
  };
  for (const auto& c : cases) {
    std::string got = value(c.yaml);
    EXPECT_EQ(std::string(c.json) == "error" ? got.substr(0, 5) : got, c.json) << c.yaml;
  }
}

TEST(YamlToJsonTest, escapes_text) {
  EXPECT_EQ(value("a: \"q\\\"b\\\\n\\n\\t\\u0001\""), R"("q\"b\\n\u000a\u0009\u0001")");
  EXPECT_EQ(value("a: |\n  line 1\n  line 2\n"), R"("line 1\u000aline 2\u000a")");
  EXPECT_EQ(value("a: gr\xc3\xbc\xc3\x9f"), "\"gr\xc3\xbc\xc3\x9f\"");
  EXPECT_EQ(json("\"k\\\"ey\": 1"), R"({"k\"ey":1})");
}

TEST(YamlToJsonTest, keeps_order_and_nesting) {
  EXPECT_EQ(json("b: [1, {c: 2}, []]\na: {}\n"), R"({"b":[1,{"c":2},[]],"a":{}})");
  EXPECT_EQ(json("x: &one {p: 1}\ny: *one\n"), R"({"x":{"p":1},"y":{"p":1}})");
}

TEST(YamlToJsonTest, takes_commas_that_a_template_left_behind) {
  EXPECT_EQ(json("{\"a\": [1, 2,\n], \"b\": {\"c\": 1,},\n}"), R"({"a":[1,2],"b":{"c":1}})");
}

TEST(YamlToJsonTest, leaves_commas_inside_of_texts_alone) {
  EXPECT_EQ(json(R"({"a": "x,]", "b": "[1, }", "c": "^(a|b,)}$"})"), R"({"a":"x,]","b":"[1, }","c":"^(a|b,)}$"})");
}

TEST(YamlToJsonTest, wraps_types_nobody_knows) {
  EXPECT_EQ(
      json(R"({"@type": "type.googleapis.com/no.such.Type", "x": 1, "y": {"z": "t"}})"),
      R"({"@type":"type.googleapis.com/xds.type.v3.TypedStruct","type_url":"type.googleapis.com/no.such.Type","value":{"x":1,"y":{"z":"t"}}})");
  EXPECT_EQ(json(R"({"f": [{"@type": "no.such.Type"}]})"),
            R"({"f":[{"@type":"type.googleapis.com/xds.type.v3.TypedStruct","type_url":"no.such.Type","value":{}}]})");
  std::string known = R"({"@type":"type.googleapis.com/google.protobuf.Struct","value":{"a":1}})";
  EXPECT_EQ(json(known), known);
}

TEST(YamlToJsonTest, makes_what_protobuf_reads) {
  google::protobuf::Struct read;
  std::string text = json("a: 1\nb: [true, null, 'x', -0.5]\nc: {d: \"1\"}\n");
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(text, &read).ok()) << text;
  EXPECT_EQ(read.fields().at("a").number_value(), 1);
  EXPECT_EQ(read.fields().at("b").list_value().values_size(), 4);
  EXPECT_EQ(read.fields().at("c").struct_value().fields().at("d").string_value(), "1");
}

TEST(YamlToJsonTest, names_file_and_line_of_what_is_wrong) {
  EXPECT_NE(json("a: 1\nb: [1\n").find("error: file.yaml:"), std::string::npos);
  EXPECT_NE(json("a: 1\n  b: 2\nc: 3\n").find("error: file.yaml:2:"), std::string::npos)
      << json("a: 1\n  b: 2\nc: 3\n");
  for (const char* text : {"", "[1, 2]", "just text", "5", "~"}) {
    EXPECT_EQ(json(text).substr(0, 17), "error: file.yaml:") << text;
  }
}

TEST(YamlToJsonTest, bounds_nesting) {
  for (int depth : {1000, 100000}) {
    std::string open, close;
    for (int i = 0; i < depth; i++) open += "[", close += "]";
    EXPECT_EQ(json("{\"a\": " + open + close + "}").substr(0, 6), "error:") << depth;
  }
  EXPECT_EQ(value("{\"a\": [[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]}").substr(0, 20), std::string(20, '['));
}

TEST(LoadBootstrapTest, reads_an_inline_configuration) {
  auto bootstrap = load_bootstrap(
      "",
      "node: {id: me, cluster: c}\nadmin:\n  address:\n    socketAddress: {address: 127.0.0.1, port_value: '15000'}\n");
  ASSERT_TRUE(bootstrap) << bootstrap.error().message;
  EXPECT_EQ(bootstrap->node().id(), "me");
  EXPECT_EQ(bootstrap->admin().address().socket_address().port_value(), 15000u);
  EXPECT_FALSE(load_bootstrap("", "node: [1]"));
  EXPECT_FALSE(load_bootstrap("/no/such/file.json", ""));
}

}  // namespace
}  // namespace pinnace::xds
