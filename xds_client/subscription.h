// Subscription: the xDS protocol of one stream, sans-IO: which names of which types are wanted, nonces, ACK and NACK,
// what the server is known to have sent. Delta and state-of-the-world. Messages in, messages and resource batches out.
// Rules from istiod: never an ACK and a subscription change in one message; versions may be empty and mean nothing.
// THREAD: control.
#pragma once

#include <google/protobuf/any.pb.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "envoy/config/core/v3/base.pb.h"
#include "proxy/base/result.h"

namespace pinnace::xds {

struct Resource {
  std::string name;  // delta: as the server names it; SotW: filled by who unpacks it
  std::string version;
  google::protobuf::Any body;
};

// What one response brought.
struct Batch {
  std::string type_url;
  std::string nonce;
  std::string version;  // system_version_info or version_info
  std::vector<Resource> resources;
  std::vector<std::string> removed;  // delta only
  uint64_t origin = 0;               // which XdsStream it came on
  uint64_t stream = 0;               // and which opening of it
  std::string fault;                 // why nothing of it can be used
  bool complete = false;             // SotW wildcard: resources not named here are gone
};

class Subscription {
 public:
  Subscription(bool delta, envoy::config::core::v3::Node node) : delta_(delta), node_(std::move(node)) {}

  bool delta() const { return delta_; }
  // Types are asked for in this order on a new stream; others come after.
  void set_order(std::initializer_list<const char*> type_urls) {
    for (const char* url : type_urls) type(url);
  }
  // Wants everything of the type (CDS, LDS).
  void want_all(const std::string& type_url);
  // Wants exactly `names` from now on.
  void want(const std::string& type_url, const std::set<std::string>& names);

  // Serialised requests that must be sent, in order. Empties the queue.
  std::vector<std::string> take_outgoing();
  // A new stream: asks again for everything wanted, telling the server what is already here.
  void stream_opened();
  void stream_closed() { open_ = false; }
  // ERRORS: the message does not parse or is of a type nobody asked for.
  Result<Batch> receive(const std::string& message);
  // The answer to a batch. `rejected` is empty for an ACK.
  void answer(const Batch& batch, const std::string& rejected);

 private:
  struct Type {
    std::string url;
    bool all = false;
    std::set<std::string> names;
    std::map<std::string, std::string> known;  // delta: name → version the server sent
    std::string version, nonce;                // SotW: last accepted version, last nonce
    bool asked = false;                        // on this stream
    // SotW: a response waits for its answer, which must tell the names it was asked for; a change of names follows it.
    bool unanswered = false, changed = false;
    std::set<std::string> told;  // the names of the last request
  };

  Type& type(const std::string& url);
  void ask_delta(const Type& type, const std::vector<std::string>& subscribe,
                 const std::vector<std::string>& unsubscribe, bool initial);
  // The names are those of the last request, unless `fresh`.
  void ask_sotw(Type& type, const std::string& error, bool fresh);

  bool delta_;
  envoy::config::core::v3::Node node_;
  bool open_ = false;
  uint64_t stream_ = 0;  // counts stream_opened()
  bool node_sent_ = false;
  std::vector<Type> types_;  // in the order they were first wanted
  std::vector<std::string> outgoing_;
};

}  // namespace pinnace::xds
