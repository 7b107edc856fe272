#include "proxy/http/h2/codec_stats.h"

namespace pinnace::http::h2 {

CodecStats make_codec_stats(stats::Store& store, const std::string& prefix) {
  auto counter = [&](const char* leaf) { return store.counter(prefix + leaf); };
  CodecStats s;
  s.goaway_sent = counter("goaway_sent");
  s.header_overflow = counter("header_overflow");
  s.headers_cb_no_stream = counter("headers_cb_no_stream");
  s.inbound_empty_frames_flood = counter("inbound_empty_frames_flood");
  s.inbound_priority_frames_flood = counter("inbound_priority_frames_flood");
  s.inbound_window_update_frames_flood = counter("inbound_window_update_frames_flood");
  s.keepalive_timeout = counter("keepalive_timeout");
  s.outbound_control_flood = counter("outbound_control_flood");
  s.outbound_flood = counter("outbound_flood");
  s.rx_messaging_error = counter("rx_messaging_error");
  s.rx_reset = counter("rx_reset");
  s.stream_refused_errors = counter("stream_refused_errors");
  s.trailers = counter("trailers");
  s.tx_reset = counter("tx_reset");
  s.streams_active = store.gauge(prefix + "streams_active");
  s.pending_send_bytes = store.gauge(prefix + "pending_send_bytes");
  return s;
}

}  // namespace pinnace::http::h2
