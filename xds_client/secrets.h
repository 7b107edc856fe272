// Secrets: what SDS has delivered, and the TLS contexts made of it. A context exists once all its secrets do; a secret
// that rotates makes its contexts anew. Fail closed: without its validation secret there is no context and no
// handshake. THREAD: control.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>

#include "envoy/extensions/transport_sockets/tls/v3/secret.pb.h"
#include "proxy/model/update.h"
#include "tls/context.h"
#include "xds_client/compile/context.h"
#include "xds_client/subscription.h"

namespace pinnace::xds {

class Secrets {
 public:
  explicit Secrets(compile::TlsRegistry& registry) : registry_(registry) {}

  struct Entry {
    envoy::extensions::transport_sockets::tls::v3::Secret secret;  // as delivered
    std::string version;
    int64_t updated_s = 0;
    bool delivered = false;
  };
  using Key = model::ResourceRef;

  // Takes secrets over. Returns what is wrong with them, empty when nothing is.
  std::string apply(const model::ConfigSource& source, const Batch& batch, int64_t now_s);
  // The contexts that listeners and clusters refer to; secrets of the others are no longer wanted.
  void set_used(std::set<uint32_t> ids);
  // Makes the contexts that can be made now and adds them to `update`; notes new wishes.
  void settle(model::Update& update);
  std::set<Key> wanted() const;
  // Ready to be used: made, or given up waiting for (initial_fetch_timeout), in which case handshakes fail.
  bool ready(uint32_t context_id) const {
    return context_id < states_.size() && (states_[context_id].made || states_[context_id].given_up);
  }
  // Contexts that still wait for a secret with a time limit: (id, limit in ms).
  std::vector<std::pair<uint32_t, uint64_t>> take_deadlines();
  // False: nothing waited for it any more.
  bool give_up(uint32_t context_id);
  // An answer that could not be understood: nobody waits for the first secrets any more.
  void give_up_all();

  const std::map<Key, Entry>& entries() const { return entries_; }
  // Contexts in force, for /certs.
  const std::vector<std::shared_ptr<const tls::Context>>& contexts() const { return contexts_; }

 private:
  struct State {
    bool seen = false, made = false, given_up = false, stale = true;
    std::string failure;
  };

  bool resolve(const model::TlsContextSpec& spec, tls::ResolvedSecrets& out, std::string& missing) const;
  void mark_stale(const Key& changed);
  void refuse(const Key& key);
  bool uses(uint32_t id, const Key& key) const;
  // What is wrong with a secret for whoever wants it by that name; empty: nothing.
  std::string fault(const Key& key, const envoy::extensions::transport_sockets::tls::v3::Secret& secret) const;

  compile::TlsRegistry& registry_;
  std::map<Key, Entry> entries_;
  std::set<uint32_t> used_;
  std::vector<State> states_;
  std::vector<std::shared_ptr<const tls::Context>> contexts_;
  std::vector<std::pair<uint32_t, uint64_t>> deadlines_;
};

}  // namespace pinnace::xds
