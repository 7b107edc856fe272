// HTTP/2, as the server. Within one turn of the loop what the application hears is the same for every split; over many
// turns, with answers between the pieces and a reader that lags, the codec keeps its contract.
#include <climits>

#include "proxy/http/h2/server_codec.h"
#include "tests/fuzz/frames.h"
#include "tests/fuzz/server_side.h"

namespace pinnace::fuzz {
namespace {

model::Http2Settings make_settings(bool small) {
  model::Http2Settings settings;
  settings.allow_connect = true;
  if (!small) return settings;
  settings.max_concurrent_streams = 3;
  settings.header_table_size = 128;
  settings.max_outbound_frames = 60;
  settings.max_outbound_control_frames = 30;
  settings.max_priority_frames_per_stream = 2;
  settings.max_window_updates_per_data_frame = 1;
  return settings;
}

std::unique_ptr<http::ServerCodec> make_codec(net::Connection& connection, http::ServerCodec::Owner& owner,
                                              const How& how, const http::h1::ServerSettings& limits) {
  static const model::Http2Settings kUsual = make_settings(false), kSmall = make_settings(true);
  return http::h2::make_server_codec(connection, owner, how.small ? kSmall : kUsual, limits);
}

// What the peer makes us queue is counted between reads, so that where it breaks a limit depends on the split.
bool queued_too_much(const ServerSide& server) { return server.fault().starts_with("http2.outbound"); }

void serve(const How& how, Bytes input) {
  ServerSide whole(make_codec, how, input, Split::kWhole, INT_MAX);
  check_frames(whole.output(), true);
  for (Split split : {Split::kSmall, Split::kRandom}) {
    ServerSide again(make_codec, how, input, split, INT_MAX);
    check_frames(again.output(), true);
    if (has_goaway(input) || queued_too_much(whole) || queued_too_much(again)) continue;
    compare(whole.stories(), again.stories());
    check(whole.fault() == again.fault(), "a fault does not depend on the split");
  }
  ServerSide in_turns(make_codec, how, input, Split::kRandom, 1);
  check_frames(in_turns.output(), true);
}

}  // namespace
}  // namespace pinnace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 0) pinnace::fuzz::serve(pinnace::fuzz::How(data[0]), {data + 1, size - 1});
  return 0;
}
