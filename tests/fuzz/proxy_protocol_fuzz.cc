// The PROXY protocol: the same answer for every split, a size that has come, and addresses that can be said again.
#include "filters/listener/proxy_protocol.h"
#include "proxy/upstream/proxy_header.h"
#include "tests/fuzz/input.h"

namespace pinnace::fuzz {
namespace {

using filters::listener::ProxyHeader;
using filters::listener::ProxyHeaderState;

bool same(const ProxyHeader& a, const ProxyHeader& b) {
  return a.has_addresses == b.has_addresses && a.source == b.source && a.destination == b.destination &&
         a.version == b.version && a.size == b.size;
}

ProxyHeaderState parse(Bytes input, ProxyHeader& header) {
  ProxyHeaderState state = filters::listener::parse_proxy_header(copy(input), header);
  if (state == ProxyHeaderState::kDone) {
    check(header.size > 0 && header.size <= input.size(), "a header is of bytes that came");
    check(header.size <= filters::listener::kMaxProxyHeader, "a header has a bound");
  }
  if (header.has_addresses) {
    check(state == ProxyHeaderState::kDone, "no addresses without a header");
    check(header.source.is_ip() && header.destination.is_ip(), "addresses are of IP");
    check(header.source == header.source.unmapped(), "a mapped address is the one it stands for");
  }
  return state;
}

// What we write about these addresses reads as the same addresses.
void say_again(const ProxyHeader& header) {
  if (header.source.kind() != header.destination.kind()) return;  // one was mapped
  for (auto version : {model::ProxyProtocol::kV1, model::ProxyProtocol::kV2}) {
    std::string text = upstream::proxy_header(version, &header.source, &header.destination);
    ProxyHeader again;
    auto state = parse({reinterpret_cast<const uint8_t*>(text.data()), text.size()}, again);
    check(state == ProxyHeaderState::kDone && again.size == text.size(), "our own header is one");
    check(again.has_addresses && again.source == header.source && again.destination == header.destination,
          "our own header has the same addresses");
  }
}

void read(Bytes input) {
  ProxyHeaderState decided = ProxyHeaderState::kNeedMore;
  ProxyHeader first;
  for (size_t n : beginnings(input.size())) {
    ProxyHeader now;
    ProxyHeaderState state = parse(input.first(n), now);
    if (decided != ProxyHeaderState::kNeedMore) {
      check(state == decided, "more bytes do not change an answer");
      check(decided != ProxyHeaderState::kDone || same(now, first), "more bytes do not change a header");
    } else {
      decided = state;
      first = now;
    }
    check(n < filters::listener::kMaxProxyHeader || state != ProxyHeaderState::kNeedMore, "the bound is enough");
  }
  if (decided == ProxyHeaderState::kDone && first.has_addresses) say_again(first);
}

}  // namespace
}  // namespace pinnace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pinnace::fuzz::read({data, size});
  return 0;
}
