#include "xds_client/compile/http2.h"

#include "xds_client/compile/common.h"

namespace pinnace::compile {

namespace core = envoy::config::core::v3;

namespace {

Result<bool> keepalive(const core::KeepaliveSettings& proto, model::Http2Keepalive& out) {
  if (proto.has_interval()) out.interval_ms = milliseconds(proto.interval());
  if (proto.has_connection_idle_interval()) out.idle_ms = milliseconds(proto.connection_idle_interval());
  out.timeout_ms = milliseconds(proto.timeout());
  if (out.timeout_ms == 0) return error("connection_keepalive.timeout: must be more than 0");
  if (proto.has_interval_jitter()) out.jitter_percent = static_cast<uint32_t>(proto.interval_jitter().value());
  return true;
}

}  // namespace

// UNLIKE ENVOY: a malformed message ends its stream, not the connection, whatever
// override_stream_error_on_invalid_http_message says (RFC 9113 8.1.1); hence that field changes nothing. METADATA
// frames and oghttp2 are Envoy's own.
Result<bool> http2_settings(const core::Http2ProtocolOptions& proto, model::Http2Settings& out) {
  auto known = only_fields(
      proto, {"hpack_table_size", "max_concurrent_streams", "initial_stream_window_size",
              "initial_connection_window_size", "allow_connect", "max_outbound_frames", "max_outbound_control_frames",
              "max_consecutive_inbound_frames_with_empty_payload", "max_inbound_priority_frames_per_stream",
              "max_inbound_window_update_frames_per_data_frame_sent", "stream_error_on_invalid_http_messaging",
              "override_stream_error_on_invalid_http_message", "connection_keepalive", "use_oghttp2_codec"});
  if (!known) return in("http2_protocol_options", known.error());
  auto set = [](bool has, const auto& value, uint32_t& to) {
    if (has) to = value.value();
  };
  set(proto.has_hpack_table_size(), proto.hpack_table_size(), out.header_table_size);
  set(proto.has_max_concurrent_streams(), proto.max_concurrent_streams(), out.max_concurrent_streams);
  set(proto.has_initial_stream_window_size(), proto.initial_stream_window_size(), out.initial_stream_window);
  set(proto.has_initial_connection_window_size(), proto.initial_connection_window_size(),
      out.initial_connection_window);
  set(proto.has_max_outbound_frames(), proto.max_outbound_frames(), out.max_outbound_frames);
  set(proto.has_max_outbound_control_frames(), proto.max_outbound_control_frames(), out.max_outbound_control_frames);
  set(proto.has_max_consecutive_inbound_frames_with_empty_payload(),
      proto.max_consecutive_inbound_frames_with_empty_payload(), out.max_empty_frames);
  set(proto.has_max_inbound_priority_frames_per_stream(), proto.max_inbound_priority_frames_per_stream(),
      out.max_priority_frames_per_stream);
  set(proto.has_max_inbound_window_update_frames_per_data_frame_sent(),
      proto.max_inbound_window_update_frames_per_data_frame_sent(), out.max_window_updates_per_data_frame);
  out.allow_connect = proto.allow_connect();
  if (proto.has_connection_keepalive()) {
    auto done = keepalive(proto.connection_keepalive(), out.keepalive);
    if (!done) return in("http2_protocol_options", done.error());
  }
  constexpr uint32_t kLargest = 0x7fffffff;
  if (out.initial_stream_window < 65535 || out.initial_stream_window > kLargest ||
      out.initial_connection_window < 65535 || out.initial_connection_window > kLargest) {
    return error("http2_protocol_options: windows must be 65535 to 2147483647");
  }
  return true;
}

}  // namespace pinnace::compile
