// Prologue: what the two ends of a connection tell each other once it is ready and before its first byte. Sans-IO; the
// connection that owns it sends and feeds it. THREAD: its connection's. LIFETIME: its connection's, so that others may
// read what came of it.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "proxy/base/block_pool.h"
#include "proxy/net/transport.h"
#include "proxy/stats/cells.h"

namespace pinnace::net {

class Prologue {
 public:
  enum class Taken : uint8_t {
    kMore,    // all of `data`, and more is to come
    kOver,    // what it left in `data` is the first of the connection's own
    kBroken,  // the connection has to end
  };

  virtual ~Prologue() = default;
  // The connection is ready; `tls` is nullptr on a plain one. What to send first; nullopt: nothing is said on this one.
  virtual std::optional<std::string_view> begin(const TlsInfo* tls) = 0;
  // Takes from the front of `data`; may put a view of its own memory there, valid until the connection's next read.
  virtual Taken take(base::Bytes& data) = 0;
};

// Makes one for each connection of a filter chain or cluster. Immutable. THREAD: any.
class PrologueConfig {
 public:
  virtual ~PrologueConfig() = default;
  virtual std::unique_ptr<Prologue> make(stats::Cells& cells) const = 0;
};

}  // namespace pinnace::net
