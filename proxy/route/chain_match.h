// Which filter chain a connection takes. ChainIndex is built once per listener; find() is pure and says why.
// Order and absence of backtracking are Envoy's: destination port, longest destination prefix, server name (exact, then
// longest wildcard suffix), transport protocol, offered ALPN, direct source, source type, source prefix, source port.
// envoy.config.listener.v3.FilterChainMatch.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "proxy/model/listener.h"

namespace pinnace::route {

// What the listener filters found out.
struct ConnectionFacts {
  base::Address destination;  // original destination when it was restored
  base::Address source;
  base::Address direct_source;     // the socket's peer where the PROXY protocol names another source; else kNone
  std::string server_name;         // lower case
  std::string transport_protocol;  // "tls" or "raw_buffer"
  std::vector<std::string> alpn;   // offered by the client, or what http_inspector saw
};

struct ChainDecision {
  std::shared_ptr<const model::FilterChain> chain;  // nullptr: none, and no default
  std::string why;                                  // only filled by explain()
};

class ChainIndex {
 public:
  // ERRORS: two chains with the same match, named.
  static Result<std::shared_ptr<const ChainIndex>> build(
      const std::vector<std::shared_ptr<const model::FilterChain>>& chains,
      std::shared_ptr<const model::FilterChain> default_chain);

  const std::shared_ptr<const model::FilterChain>& find(const ConnectionFacts& facts) const;
  // The same with the step at which the search ended, for explain and logs.
  ChainDecision explain(const ConnectionFacts& facts) const;

 private:
  using ChainPtr = std::shared_ptr<const model::FilterChain>;

  struct Sources {  // all that is left once ALPN is settled; few, compared one by one
    std::vector<ChainPtr> chains;
  };
  struct AlpnLevel {
    std::map<std::string, Sources, std::less<>> by_name;
    std::unique_ptr<Sources> any;
  };
  struct TransportLevel {
    std::map<std::string, AlpnLevel, std::less<>> by_name;
    std::unique_ptr<AlpnLevel> any;
  };
  struct NameLevel {
    std::unordered_map<std::string, TransportLevel> exact;
    std::unordered_map<std::string, TransportLevel> suffix;  // ".example.com"
    std::unique_ptr<TransportLevel> any;
  };
  struct PrefixLevel {
    std::vector<std::pair<base::Cidr, std::unique_ptr<NameLevel>>> ranges;  // longest first
    std::unique_ptr<NameLevel> any;
  };

  Result<bool> add(const ChainPtr& chain);
  const ChainPtr* search(const ConnectionFacts& facts, const char*& why) const;
  static const ChainPtr* best_source(const Sources& sources, const ConnectionFacts& facts);

  std::unordered_map<uint16_t, PrefixLevel> by_port_;
  PrefixLevel any_port_;
  ChainPtr default_;
};

}  // namespace pinnace::route
