// envoy.config.core.v3.Http1ProtocolOptions, as far as both ends of a connection share it.
#pragma once

namespace pinnace::model {

struct Http1Options {
  bool trailers = false;       // enable_trailers; without it they are dropped both ways
  bool preserve_case = false;  // header_key_format.stateful_formatter: preserve_case. What the peer wrote goes on so
};

}  // namespace pinnace::model
