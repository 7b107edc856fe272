// http_inspector: its answer is the same for every split, and never at odds with the codec that the answer chooses.
#include "filters/listener/inspect.h"
#include "proxy/http/h1/head_parser.h"
#include "tests/fuzz/input.h"

namespace pinnace::fuzz {
namespace {

using filters::listener::Inspection;

// Whether the codec takes these bytes for a request.
bool is_request(Bytes input, http::Protocol& protocol) {
  std::string head(input.begin(), input.end());
  size_t scanned = 0;
  size_t end = http::h1::find_head_end(head, scanned);
  base::BlockPool pool;
  base::Arena arena(pool);
  http::RequestHead request(arena);
  if (end == 0 || http::h1::parse_request(head.data(), end, {}, request).error != http::h1::HeadError::kNone)
    return false;
  protocol = request.protocol;
  return true;
}

void inspect(Bytes input) {
  Inspection decided = Inspection::kNeedMore;
  std::string said;
  for (size_t n : beginnings(input.size())) {
    std::string protocol;
    Inspection answer = filters::listener::inspect_http(copy(input.first(n)), protocol);
    check(protocol.empty() == (answer != Inspection::kYes), "a protocol with yes, and only then");
    if (decided != Inspection::kNeedMore) {
      check(answer == decided && protocol == said, "more bytes do not change an answer");
    } else if (answer != Inspection::kNeedMore) {
      decided = answer;
      said = protocol;
    }
    check(n < filters::listener::kMaxPeek || answer != Inspection::kNeedMore, "a full peek is enough");
  }
  std::string whole;
  Inspection answer = filters::listener::inspect_http(copy(input), whole);
  if (http::Protocol protocol; is_request(input, protocol)) {
    check(answer == Inspection::kYes, "what the codec takes is HTTP");
    check((whole == "http/1.0") == (protocol == http::Protocol::kHttp10) && whole != "h2c", "of the codec's version");
  }
}

}  // namespace
}  // namespace pinnace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pinnace::fuzz::inspect({data, std::min(size, pinnace::filters::listener::kMaxPeek)});
  return 0;
}
