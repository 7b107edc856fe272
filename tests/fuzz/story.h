// Story: what one side of a message exchange was told of one message, in words that can be compared.
#pragma once

#include <string>
#include <vector>

#include "proxy/http/codec.h"
#include "tests/fuzz/input.h"

namespace pinnace::fuzz {

struct Story {
  std::string head;
  std::string body;
  std::string end;  // trailers and "end", or why there is none
};

inline std::string describe(const http::HeaderMap& fields) {
  std::string text;
  for (const http::Header& field : fields) {
    std::string_view spelling = fields.spelling(field.name);
    check(http::equals_ignore_case(spelling, field.name), "a field keeps its name");
    text.append(spelling).append(":").append(field.value).append("\n");
  }
  return text;
}

inline std::string describe(const http::RequestHead& head) {
  std::string text;
  for (std::string_view part : {head.method, head.path, head.authority, head.scheme, head.upgrade}) {
    text.append(part).append(" ");
  }
  return text.append(http::protocol_name(head.protocol)).append("\n") + describe(head.headers);
}

inline std::string describe(const http::ResponseHead& head) {
  return std::to_string(head.status) + "\n" + describe(head.headers);
}

// Aborts with both when they differ: the same bytes in another split tell another story. How much of a body comes
// before what is wrong with it is left to the split.
void compare(const std::vector<Story>& a, const std::vector<Story>& b);

}  // namespace pinnace::fuzz
