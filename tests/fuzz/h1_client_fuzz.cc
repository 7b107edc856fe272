// HTTP/1 answers, as the client: what is told of the first is the same for every split. What comes after it is an
// answer to the next request or nobody's, by when it comes.
#include "tests/fuzz/client_side.h"

namespace pinnace::fuzz {
namespace {

std::unique_ptr<http::ClientCodec> make_codec(net::Connection& connection, http::ClientCodec::Owner& owner,
                                              const Asked&, const http::h1::ClientSettings& settings) {
  return std::make_unique<http::h1::H1ClientCodec>(connection, owner, settings);
}

void ask(const Asked& asked, Bytes input) {
  ClientSide whole(make_codec, asked, input, Split::kWhole, 8);
  bool timed = asked.kind == Asked::kGetAndReset;  // gives up by itself
  for (Split split : {Split::kSmall, Split::kRandom}) {
    ClientSide again(make_codec, asked, input, split, 8);
    if (!timed) compare({whole.stories()[0]}, {again.stories()[0]});
  }
}

}  // namespace
}  // namespace pinnace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 0) pinnace::fuzz::ask(pinnace::fuzz::Asked(data[0]), {data + 1, size - 1});
  return 0;
}
