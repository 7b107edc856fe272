// The preamble of TCP connections in a mesh, and x-envoy-peer-metadata: the same answer for every split, the
// connection's own bytes untouched, and a peer whose words are bounded and clean.
#include "filters/network/metadata_exchange/exchange.h"
#include "proxy/stats/store.h"
#include "tests/fuzz/input.h"

namespace pinnace::fuzz {
namespace {

using filters::istio::PeerPtr;
using filters::metadata_exchange::Exchange;
using Taken = net::Prologue::Taken;

struct Outcome {
  Taken taken = Taken::kMore;
  std::string rest;  // the connection's own bytes
  PeerPtr peer;
};

stats::Store& store() {
  static auto& made = *new stats::Store;
  return made;
}

stats::Cells& cells() {
  static auto& made = store().add_thread();
  return made;
}

void check_text(const std::string& text) {
  check(text.size() <= filters::istio::kMostText, "what a peer says ends");
  for (char c : text) check(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f, "what a peer says is clean");
}

void check_peer(const PeerPtr& peer) {
  if (!peer) return;
  for (const auto* text : {&peer->instance, &peer->namespace_name, &peer->name, &peer->cluster, &peer->identity,
                           &peer->canonical_name, &peer->canonical_revision, &peer->app, &peer->version}) {
    check_text(*text);
  }
}

Outcome feed(Bytes input, Split split) {
  static const auto settings = [] {
    auto made = std::make_shared<filters::metadata_exchange::ExchangeSettings>();
    made->protocol = "istio-peer-exchange";
    return made;
  }();
  net::TlsInfo tls;
  tls.alpn = settings->protocol;
  Exchange exchange(settings, cells());
  exchange.begin(&tls);
  Outcome out;
  for (Pieces pieces(input, split); !pieces.empty();) {
    auto piece = pieces.next();
    Bytes data = piece;
    if (out.taken == Taken::kMore) out.taken = exchange.take(data);
    if (out.taken == Taken::kBroken) break;
    if (out.taken == Taken::kOver) out.rest.append(reinterpret_cast<const char*>(data.data()), data.size());
    else check(data.empty(), "all of it is taken while more is to come");
  }
  out.peer = exchange.peer();
  return out;
}

void read(Bytes input) {
  Outcome whole = feed(input, Split::kWhole);
  check_peer(whole.peer);
  for (Split split : {Split::kSmall, Split::kRandom}) {
    Outcome other = feed(input, split);
    check(other.taken == whole.taken && other.peer == whole.peer, "a split changes nothing");
    check(whole.taken == Taken::kBroken || other.rest == whole.rest, "a split changes no byte of the connection");
  }
  if (whole.taken == Taken::kOver && !whole.peer && whole.rest.size() == input.size()) {
    check(std::equal(input.begin(), input.end(), reinterpret_cast<const uint8_t*>(whole.rest.data())),
          "bytes of another protocol are handed on");
  }
  std::string_view header(reinterpret_cast<const char*>(input.data()), input.size());
  check_peer(filters::istio::Peers::here({}).of_header(header));
  check_peer(filters::istio::Peers::here({}).of_endpoint(header));
}

}  // namespace
}  // namespace pinnace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pinnace::fuzz::read({data, size});
  return 0;
}
