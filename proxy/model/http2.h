// Http2Settings: envoy.config.core.v3.Http2ProtocolOptions, compiled; the same for listeners and clusters. What the API
// leaves open gets a bound here: a peer can make us keep only so much.
#pragma once

#include <cstdint>

namespace pinnace::model {

// Http2ProtocolOptions.connection_keepalive. Times in milliseconds; 0: off.
struct Http2Keepalive {
  uint64_t interval_ms = 0;
  uint64_t timeout_ms = 0;
  uint32_t jitter_percent = 15;
  uint64_t idle_ms = 0;  // connection_idle_interval: a PING before the first stream after that long
};

struct Http2Settings {
  // What we announce (RFC 9113 6.5.2).
  uint32_t max_concurrent_streams = 1024;
  uint32_t initial_stream_window = 256 * 1024;
  uint32_t initial_connection_window = 1024 * 1024;
  uint32_t header_table_size = 4096;
  bool allow_connect = false;  // SETTINGS_ENABLE_CONNECT_PROTOCOL, RFC 8441
  // What we bear. Names and defaults are Envoy's.
  uint32_t max_outbound_frames = 10000;
  uint32_t max_outbound_control_frames = 1000;
  uint32_t max_empty_frames = 1;                    // max_consecutive_inbound_frames_with_empty_payload
  uint32_t max_priority_frames_per_stream = 100;    // max_inbound_priority_frames_per_stream
  uint32_t max_window_updates_per_data_frame = 10;  // max_inbound_window_update_frames_per_data_frame_sent
  Http2Keepalive keepalive;
};

}  // namespace pinnace::model
