#include "proxy/route/chain_match.h"

#include <algorithm>

namespace pinnace::route {
namespace {

using model::FilterChainMatch;

template <class Level>
Level& some(std::unique_ptr<Level>& level) {
  if (!level) level = std::make_unique<Level>();
  return *level;
}

bool in_ranges(const std::vector<base::Cidr>& ranges, const base::Address& address, int& length) {
  length = -1;
  if (ranges.empty()) return true;
  for (const auto& range : ranges) {
    if (range.contains(address)) length = std::max(length, range.length);
  }
  return length >= 0;
}

bool is_local(const ConnectionFacts& facts) {
  if (facts.source.bytes() == facts.destination.bytes() && facts.source.kind() == facts.destination.kind()) return true;
  if (facts.source.kind() == base::Address::Kind::kIpv4) return facts.source.bytes()[0] == 127;
  static const auto kLoopback = base::Address::ip("::1", 0).value();
  return facts.source.bytes() == kLoopback.bytes();
}

// Two source criteria that one connection could satisfy equally well.
bool overlap(const FilterChainMatch& a, const FilterChainMatch& b) {
  auto share = [](const auto& x, const auto& y, auto same) {
    if (x.empty() || y.empty()) return x.empty() == y.empty();
    return std::any_of(x.begin(), x.end(), [&](const auto& p) {
      return std::any_of(y.begin(), y.end(), [&](const auto& q) { return same(p, q); });
    });
  };
  auto same_range = [](const base::Cidr& p, const base::Cidr& q) { return p.base == q.base && p.length == q.length; };
  return a.source_type == b.source_type && share(a.source_ports, b.source_ports, std::equal_to<>()) &&
         share(a.source_ranges, b.source_ranges, same_range) &&
         share(a.direct_source_ranges, b.direct_source_ranges, same_range);
}

}  // namespace

Result<std::shared_ptr<const ChainIndex>> ChainIndex::build(const std::vector<ChainPtr>& chains,
                                                            ChainPtr default_chain) {
  auto index = std::make_shared<ChainIndex>();
  index->default_ = std::move(default_chain);
  for (const auto& chain : chains) {
    auto added = index->add(chain);
    if (!added) return added.error();
  }
  auto longest_first = [](PrefixLevel& level) {
    std::stable_sort(level.ranges.begin(), level.ranges.end(),
                     [](const auto& a, const auto& b) { return a.first.length > b.first.length; });
  };
  longest_first(index->any_port_);
  for (auto& [port, level] : index->by_port_) longest_first(level);
  return std::shared_ptr<const ChainIndex>(std::move(index));
}

Result<bool> ChainIndex::add(const ChainPtr& chain) {
  const FilterChainMatch& match = chain->match;
  PrefixLevel& prefixes = match.destination_port ? by_port_[*match.destination_port] : any_port_;
  std::vector<NameLevel*> names;
  if (match.prefix_ranges.empty()) names.push_back(&some(prefixes.any));
  for (const auto& range : match.prefix_ranges) {
    auto found = std::find_if(prefixes.ranges.begin(), prefixes.ranges.end(), [&](const auto& entry) {
      return entry.first.base == range.base && entry.first.length == range.length;
    });
    if (found == prefixes.ranges.end()) {
      prefixes.ranges.emplace_back(range, std::make_unique<NameLevel>());
      found = prefixes.ranges.end() - 1;
    }
    names.push_back(found->second.get());
  }
  std::vector<TransportLevel*> transports;
  for (NameLevel* level : names) {
    if (match.server_names.empty()) transports.push_back(&some(level->any));
    for (const auto& name : match.server_names) {
      bool wildcard = name.substr(0, 2) == "*.";
      transports.push_back(wildcard ? &level->suffix[name.substr(1)] : &level->exact[name]);
    }
  }
  for (TransportLevel* level : transports) {
    AlpnLevel& alpn = match.transport_protocol.empty() ? some(level->any) : level->by_name[match.transport_protocol];
    std::vector<Sources*> leaves;
    if (match.application_protocols.empty()) leaves.push_back(&some(alpn.any));
    for (const auto& protocol : match.application_protocols) leaves.push_back(&alpn.by_name[protocol]);
    for (Sources* leaf : leaves) {
      for (const auto& other : leaf->chains) {
        if (other != chain && overlap(other->match, match)) {
          return error("filter chains '" + other->name + "' and '" + chain->name + "' have the same match");
        }
      }
      leaf->chains.push_back(chain);
    }
  }
  return true;
}

// Each criterion in turn keeps the chains that fit it best; one that was chosen is never reconsidered.
const ChainIndex::ChainPtr* ChainIndex::best_source(const Sources& sources, const ConnectionFacts& facts) {
  std::vector<const ChainPtr*> left;
  for (const auto& chain : sources.chains) left.push_back(&chain);
  bool local = is_local(facts);
  auto keep_best = [&](auto rank) {
    int best = -1;
    for (const auto* chain : left) best = std::max(best, rank((*chain)->match));
    std::erase_if(left, [&](const auto* chain) { return best < 0 || rank((*chain)->match) != best; });
  };
  // A rank of -1 does not fit; 0 has no such criterion; a longer prefix ranks higher.
  auto range_rank = [&](const std::vector<base::Cidr>& ranges, const base::Address& address) {
    int length;
    if (!in_ranges(ranges, address, length)) return -1;
    return length + 1;
  };
  bool told = facts.direct_source.kind() != base::Address::Kind::kNone;
  const base::Address& direct = told ? facts.direct_source : facts.source;
  keep_best([&](const FilterChainMatch& match) { return range_rank(match.direct_source_ranges, direct); });
  keep_best([&](const FilterChainMatch& match) {
    switch (match.source_type) {
      case FilterChainMatch::SourceType::kSameIpOrLoopback: return local ? 1 : -1;
      case FilterChainMatch::SourceType::kExternal: return local ? -1 : 1;
      default: return 0;
    }
  });
  keep_best([&](const FilterChainMatch& match) { return range_rank(match.source_ranges, facts.source); });
  keep_best([&](const FilterChainMatch& match) {
    if (match.source_ports.empty()) return 0;
    bool listed = std::find(match.source_ports.begin(), match.source_ports.end(), facts.source.port()) !=
                  match.source_ports.end();
    return listed ? 1 : -1;
  });
  return left.empty() ? nullptr : left.front();
}

const ChainIndex::ChainPtr* ChainIndex::search(const ConnectionFacts& facts, const char*& why) const {
  auto port = by_port_.find(facts.destination.port());
  const PrefixLevel& prefixes = port != by_port_.end() ? port->second : any_port_;
  const NameLevel* names = prefixes.any.get();
  for (const auto& [range, level] : prefixes.ranges) {
    if (range.contains(facts.destination)) {
      names = level.get();
      break;
    }
  }
  why = "destination port or address";
  if (!names) return nullptr;

  const TransportLevel* transports = names->any.get();
  if (!facts.server_name.empty() && !(names->exact.empty() && names->suffix.empty())) {
    auto exact = names->exact.find(facts.server_name);
    if (exact != names->exact.end()) {
      transports = &exact->second;
    } else {
      for (size_t dot = facts.server_name.find('.', 1); dot != std::string::npos;
           dot = facts.server_name.find('.', dot + 1)) {
        auto suffix = names->suffix.find(facts.server_name.substr(dot));
        if (suffix == names->suffix.end()) continue;
        transports = &suffix->second;
        break;
      }
    }
  }
  why = "server name";
  if (!transports) return nullptr;

  auto transport = transports->by_name.find(facts.transport_protocol);
  const AlpnLevel* alpn = transport != transports->by_name.end() ? &transport->second : transports->any.get();
  why = "transport protocol";
  if (!alpn) return nullptr;

  const Sources* sources = alpn->any.get();
  for (const auto& protocol : facts.alpn) {
    auto found = alpn->by_name.find(protocol);
    if (found == alpn->by_name.end()) continue;
    sources = &found->second;
    break;
  }
  why = "application protocol";
  if (!sources) return nullptr;

  why = "source";
  const ChainPtr* chain = best_source(*sources, facts);
  if (chain) why = "all criteria";
  return chain;
}

const ChainIndex::ChainPtr& ChainIndex::find(const ConnectionFacts& facts) const {
  const char* why;
  const ChainPtr* chain = search(facts, why);
  return chain ? *chain : default_;
}

ChainDecision ChainIndex::explain(const ConnectionFacts& facts) const {
  const char* why;
  const ChainPtr* chain = search(facts, why);
  if (chain) return {*chain, "matched by all criteria"};
  std::string text = std::string("no chain takes this ") + why;
  return {default_, default_ ? text + "; the default filter chain takes it" : text};
}

}  // namespace pinnace::route
