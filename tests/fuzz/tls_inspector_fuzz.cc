// tls_inspector: its answer is the same for every split, for it only ever sees a longer beginning of the same bytes.
#include "filters/listener/inspect.h"
#include "tests/fuzz/input.h"

namespace pinnace::fuzz {
namespace {

using filters::listener::Inspection;
using filters::listener::TlsFacts;

void inspect(Bytes input) {
  Inspection decided = Inspection::kNeedMore;
  TlsFacts facts;
  for (size_t n : beginnings(input.size())) {
    TlsFacts now;
    now.server_name = "left over";
    Inspection answer = filters::listener::inspect_tls(copy(input.first(n)), now);
    if (answer != Inspection::kYes) check(now.server_name.empty() && now.alpn.empty(), "no facts without a hello");
    if (decided != Inspection::kNeedMore) {
      check(answer == decided, "more bytes do not change an answer");
      check(now.server_name == facts.server_name && now.alpn == facts.alpn, "more bytes do not change the facts");
    } else if (answer != Inspection::kNeedMore) {
      decided = answer;
      facts = now;
    }
    check(now.server_name.size() <= 255, "a server name is at most 255 bytes");
    size_t names = 0;
    for (const auto& name : now.alpn) names += name.size() + 1;
    check(names + now.server_name.size() <= n, "facts are made of bytes that came");
    check(n < filters::listener::kMaxPeek || answer != Inspection::kNeedMore, "a full peek is enough");
  }
}

}  // namespace
}  // namespace pinnace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pinnace::fuzz::inspect({data, std::min(size, pinnace::filters::listener::kMaxPeek)});
  return 0;
}
