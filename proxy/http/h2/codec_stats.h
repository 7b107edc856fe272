// CodecStats: what HTTP/2 codecs count, by Envoy's names: http2.* for the clients of all listeners together,
// cluster.<name>.http2.* for a cluster's endpoints. Envoy's others are of what pinnace does not do: METADATA,
// underscores in names, a timer for the last frames. A value that is not made counts into the cell that nobody reads.
#pragma once

#include <string>

#include "proxy/stats/store.h"

namespace pinnace::http::h2 {

struct CodecStats {
  stats::Counter goaway_sent, header_overflow, headers_cb_no_stream, inbound_empty_frames_flood,
      inbound_priority_frames_flood, inbound_window_update_frames_flood, keepalive_timeout, outbound_control_flood,
      outbound_flood, rx_messaging_error, rx_reset, stream_refused_errors, trailers, tx_reset;
  stats::Gauge streams_active, pending_send_bytes;
};

// `prefix`: "http2." or "cluster.<name>.http2.".
CodecStats make_codec_stats(stats::Store& store, const std::string& prefix);

}  // namespace pinnace::http::h2
