// HTTP/2, as the client. Within one turn of the loop what is told of each answer is the same for every split; over many
// turns, with requests between the pieces, the codec keeps its contract.
#include <climits>

#include "proxy/http/h2/client_codec.h"
#include "tests/fuzz/client_side.h"
#include "tests/fuzz/frames.h"

namespace pinnace::fuzz {
namespace {

model::Http2Settings make_settings(bool small) {
  model::Http2Settings settings;
  settings.max_concurrent_streams = 3;
  if (!small) return settings;
  settings.header_table_size = 128;
  settings.max_outbound_frames = 60;
  settings.max_outbound_control_frames = 30;
  settings.max_priority_frames_per_stream = 2;
  settings.max_window_updates_per_data_frame = 1;
  return settings;
}

std::unique_ptr<http::ClientCodec> make_codec(net::Connection& connection, http::ClientCodec::Owner& owner,
                                              const Asked& asked, const http::h1::ClientSettings& limits) {
  static const model::Http2Settings kUsual = make_settings(false), kSmall = make_settings(true);
  return http::h2::make_client_codec(connection, owner, asked.small ? kSmall : kUsual, limits);
}

// What the peer makes us queue is counted between reads, so that where it breaks a limit depends on the split.
bool queued_too_much(const ClientSide& client) {
  return std::any_of(client.stories().begin(), client.stories().end(),
                     [](const Story& story) { return story.end.find("http2.outbound") != std::string::npos; });
}

void ask(const Asked& asked, Bytes input) {
  ClientSide whole(make_codec, asked, input, Split::kWhole, INT_MAX);
  check_frames(whole.output(), false);
  for (Split split : {Split::kSmall, Split::kRandom}) {
    ClientSide again(make_codec, asked, input, split, INT_MAX);
    check_frames(again.output(), false);
    if (!queued_too_much(whole) && !queued_too_much(again)) compare(whole.stories(), again.stories());
  }
  ClientSide in_turns(make_codec, asked, input, Split::kRandom, 1);
  check_frames(in_turns.output(), false);
}

}  // namespace
}  // namespace pinnace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 0) pinnace::fuzz::ask(pinnace::fuzz::Asked(data[0]), {data + 1, size - 1});
  return 0;
}
