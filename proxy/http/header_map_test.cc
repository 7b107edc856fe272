#include "proxy/http/header_map.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "proxy/base/rng.h"

namespace pinnace::http {
namespace {

struct Map {
  Map() : arena(pool), map(arena) {}
  Map(std::initializer_list<std::pair<const char*, const char*>> fields) : Map() {
    for (const auto& [name, value] : fields) map.add(name, value);
  }
  std::string text() const {
    std::string all;
    for (const Header& field : map) all += std::string(field.name) + "=" + std::string(field.value) + ";";
    return all;
  }
  std::string joined(std::string_view name) {
    std::string_view value;
    return map.joined(name, arena, value) ? std::string(value) : "(none)";
  }
  size_t counted() const {
    size_t bytes = 0;
    for (const Header& field : map) bytes += field.name.size() + field.value.size();
    return bytes;
  }

  base::BlockPool pool;
  base::Arena arena;
  HeaderMap map;
};

TEST(KnownHeadersTest, names_and_ids_are_one_to_one) {
  for (size_t i = 1; i < kHeaderIdCount; i++) {
    auto id = static_cast<HeaderId>(i);
    EXPECT_EQ(header_id(header_name(id)), id) << header_name(id);
  }
  for (const char* name : {"", "x", "hos", "hostx", "Host", "x-forwarded-fo", "content_length", "x-envoy-", "tE"}) {
    EXPECT_EQ(header_id(name), HeaderId::kOther) << name;
  }
}

TEST(HeaderMapTest, keeps_fields_in_the_order_they_came) {
  Map m{{"b", "1"}, {"cookie", "x"}, {"a", ""}, {"cookie", "y"}};
  EXPECT_EQ(m.text(), "b=1;cookie=x;a=;cookie=y;");
  EXPECT_EQ(m.map.size(), 4u);
  EXPECT_EQ(m.map.byte_size(), m.counted());
}

TEST(HeaderMapTest, finds_the_first_of_a_name) {
  Map m{{"x", "1"}, {"via", "p"}, {"x", "2"}, {"via", "q"}, {"te", ""}};
  EXPECT_EQ(m.map.get(HeaderId::kVia), "p");
  EXPECT_EQ(m.map.find("via")->value, "p");
  EXPECT_EQ(m.map.find("x")->value, "1");
  EXPECT_TRUE(m.map.has(HeaderId::kTe));
  EXPECT_EQ(m.map.get(HeaderId::kTe), "");
  EXPECT_FALSE(m.map.has(HeaderId::kHost));
  EXPECT_EQ(m.map.find("y"), nullptr);
  EXPECT_EQ(m.map.find("host"), nullptr);
  EXPECT_FALSE(m.map.has(HeaderId::kOther)) << "kOther stands for no name";
}

TEST(HeaderMapTest, joins_all_values_of_a_name_with_commas) {
  for (const char* name : {"x-role", "x-forwarded-for"}) {
    EXPECT_EQ(Map().joined(name), "(none)");
    EXPECT_EQ((Map{{name, "a"}}).joined(name), "a");
    EXPECT_EQ((Map{{name, ""}}).joined(name), "");
    EXPECT_EQ((Map{{name, "a"}, {"other", "x"}, {name, "b"}, {name, "c,d"}}).joined(name), "a,b,c,d");
    EXPECT_EQ((Map{{name, "a"}, {name, ""}}).joined(name), "a,");
    EXPECT_EQ((Map{{name, ""}, {name, "b"}}).joined(name), ",b") << "two values are not one";
    EXPECT_EQ((Map{{name, ""}, {name, ""}}).joined(name), ",");
  }
}

TEST(HeaderMapTest, puts_one_field_in_the_place_of_all) {
  for (const char* name : {"x", "via"}) {
    Map one{{"a", "1"}, {name, "old"}, {"b", "2"}};
    one.map.set(name, "new");
    EXPECT_EQ(one.text(), std::string("a=1;") + name + "=new;b=2;");
    Map many{{"a", "1"}, {name, "p"}, {"b", "2"}, {name, "q"}};
    many.map.set(name, "new");
    EXPECT_EQ(many.text(), std::string("a=1;") + name + "=new;b=2;");
    Map none{{"a", "1"}};
    none.map.set(name, "new");
    EXPECT_EQ(none.text(), std::string("a=1;") + name + "=new;");
    for (Map* m : {&one, &many, &none}) {
      EXPECT_EQ(m->map.byte_size(), m->counted());
      EXPECT_EQ(m->map.find(name)->value, "new");
    }
  }
}

TEST(HeaderMapTest, removes_all_of_a_name_and_still_finds_the_others) {
  Map m{{"via", "p"}, {"x", "1"}, {"host", "h"}, {"via", "q"}, {"x", "2"}, {"te", "t"}};
  m.map.remove(HeaderId::kVia);
  EXPECT_EQ(m.text(), "x=1;host=h;x=2;te=t;");
  EXPECT_FALSE(m.map.has(HeaderId::kVia));
  EXPECT_EQ(m.map.get(HeaderId::kHost), "h");
  EXPECT_EQ(m.map.get(HeaderId::kTe), "t");
  m.map.remove("x");
  m.map.remove("not there");
  m.map.remove(HeaderId::kCookie);
  EXPECT_EQ(m.text(), "host=h;te=t;");
  m.map.remove("host");
  EXPECT_EQ(m.map.get(HeaderId::kTe), "t");
  EXPECT_EQ(m.map.byte_size(), m.counted());
}

TEST(HeaderMapTest, finds_what_is_left_after_any_order_of_removals) {
  constexpr HeaderId kIds[] = {HeaderId::kHost, HeaderId::kTe, HeaderId::kVia, HeaderId::kOther, HeaderId::kDate};
  base::Rng rng(7);
  for (int round = 0; round < 300; round++) {
    base::BlockPool pool;
    base::Arena arena(pool);
    HeaderMap headers(arena);
    std::vector<std::pair<HeaderId, std::string>> model;
    for (int i = 0; i < 12; i++) {
      HeaderId id = kIds[rng.below(5)];
      std::string value = std::to_string(i);
      std::string_view name = id == HeaderId::kOther ? std::string_view("x-other") : header_name(id);
      headers.add(id, name, arena.copy(value));
      model.emplace_back(id, value);
    }
    for (int i = 0; i < 4; i++) {
      HeaderId id = kIds[rng.below(5)];
      if (id == HeaderId::kOther) headers.remove("x-other");
      else headers.remove(id);
      std::erase_if(model, [&](const auto& field) { return field.first == id; });
      ASSERT_EQ(headers.size(), model.size());
      size_t bytes = 0;
      for (size_t at = 0; at < model.size(); at++) {
        ASSERT_EQ(headers.begin()[at].value, model[at].second);
        bytes += headers.begin()[at].name.size() + model[at].second.size();
      }
      ASSERT_EQ(headers.byte_size(), bytes);
      for (HeaderId each : kIds) {
        auto first = std::find_if(model.begin(), model.end(), [&](const auto& field) { return field.first == each; });
        if (each == HeaderId::kOther) continue;
        ASSERT_EQ(headers.get(each), first == model.end() ? "" : first->second);
      }
    }
  }
}

TEST(HeaderMapTest, appends_to_a_value) {
  Map m{{"x-forwarded-for", "1.1.1.1"}, {"a", "b"}};
  m.map.append_to(HeaderId::kForwardedFor, ",", "2.2.2.2");
  EXPECT_EQ(m.text(), "x-forwarded-for=1.1.1.1,2.2.2.2;a=b;");
  m.map.append_to(HeaderId::kVia, ", ", "1.1 p");
  EXPECT_EQ(m.map.get(HeaderId::kVia), "1.1 p");
  Map two{{"x-forwarded-for", "1.1.1.1"}, {"x-forwarded-for", "2.2.2.2"}};
  two.map.append_to(HeaderId::kForwardedFor, ",", "3.3.3.3");
  EXPECT_EQ(two.text(), "x-forwarded-for=1.1.1.1,2.2.2.2,3.3.3.3;") << "no entry is lost";
  EXPECT_EQ(two.map.byte_size(), two.counted());
}

TEST(HeaderMapTest, grows_beyond_its_first_room) {
  Map m;
  for (int i = 0; i < 1000; i++) m.map.add_copy("name-" + std::to_string(i), "value-" + std::to_string(i));
  m.map.add(HeaderId::kVia, "last");
  EXPECT_EQ(m.map.size(), 1001u);
  EXPECT_EQ(m.map.find("name-777")->value, "value-777");
  EXPECT_EQ(m.map.get(HeaderId::kVia), "last");
  EXPECT_EQ(m.map.byte_size(), m.counted());
}

TEST(HeaderMapTest, is_empty_after_clear) {
  Map m{{"via", "p"}, {"x", "1"}};
  m.map.clear();
  EXPECT_EQ(m.map.size(), 0u);
  EXPECT_EQ(m.map.byte_size(), 0u);
  EXPECT_FALSE(m.map.has(HeaderId::kVia));
  EXPECT_EQ(m.map.find("x"), nullptr);
  m.map.add("x", "2");
  EXPECT_EQ(m.text(), "x=2;");
}

TEST(HeaderTextTest, compares_ascii_without_case_and_nothing_else) {
  EXPECT_TRUE(equals_ignore_case("AbC", "aBc"));
  EXPECT_TRUE(equals_ignore_case("", ""));
  EXPECT_FALSE(equals_ignore_case("a", "ab"));
  EXPECT_FALSE(equals_ignore_case("[", "{"));
  EXPECT_FALSE(equals_ignore_case("@", "`"));
  EXPECT_FALSE(equals_ignore_case("\xc4", "\xe4"));
}

TEST(HeaderTextTest, finds_tokens_in_lists) {
  for (const char* list : {"close", "CLOSE", "a,close", "a , Close ", "close,b", ",,close", "\tclose\t,"}) {
    EXPECT_TRUE(contains_token(list, "close")) << list;
  }
  for (const char* list : {"", "closed", "x-close", "clo se", "a;close", "close=1", ",", "close d"}) {
    EXPECT_FALSE(contains_token(list, "close")) << list;
  }
  EXPECT_EQ(trim(" \t a b\t "), "a b");
  EXPECT_EQ(trim(" \t"), "");
}

}  // namespace
}  // namespace pinnace::http
