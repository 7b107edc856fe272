// Filter chain choice: Envoy's order of criteria, and that a criterion once settled is not looked at again.
#include "proxy/route/chain_match.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pinnace::route {
namespace {

using model::FilterChainMatch;
using SourceType = FilterChainMatch::SourceType;
using Chains = std::vector<std::shared_ptr<const model::FilterChain>>;

struct Chain {
  explicit Chain(std::string name) : made(std::make_shared<model::FilterChain>()) { made->name = std::move(name); }
  Chain& port(uint16_t port) { return made->match.destination_port = port, *this; }
  Chain& prefix(const char* base, int length) { return add(made->match.prefix_ranges, base, length); }
  Chain& names(std::vector<std::string> names) { return made->match.server_names = std::move(names), *this; }
  Chain& transport(const char* name) { return made->match.transport_protocol = name, *this; }
  Chain& alpn(std::vector<std::string> names) { return made->match.application_protocols = std::move(names), *this; }
  Chain& direct(const char* base, int length) { return add(made->match.direct_source_ranges, base, length); }
  Chain& type(SourceType type) { return made->match.source_type = type, *this; }
  Chain& source(const char* base, int length) { return add(made->match.source_ranges, base, length); }
  Chain& ports(std::vector<uint16_t> ports) { return made->match.source_ports = std::move(ports), *this; }
  operator std::shared_ptr<const model::FilterChain>() const { return made; }

  std::shared_ptr<model::FilterChain> made;

 private:
  Chain& add(std::vector<base::Cidr>& to, const char* base, int length) {
    to.push_back(base::Cidr::parse(base, length).value());
    return *this;
  }
};

struct Facts : ConnectionFacts {
  explicit Facts(const char* to = "10.0.0.1", uint16_t port = 80) {
    destination = base::Address::ip(to, port).value();
    from("192.168.0.9");
    transport_protocol = "raw_buffer";
  }
  Facts& from(const char* ip, uint16_t port = 50000) { return source = base::Address::ip(ip, port).value(), *this; }
  Facts& sni(const char* name) { return server_name = name, transport_protocol = "tls", *this; }
  Facts& offers(std::vector<std::string> names) { return alpn = std::move(names), *this; }
};

// The name of the chain found; "" for none. The default chain, when there is one, is called "default".
std::string found(const Chains& chains, const ConnectionFacts& facts, bool with_default = false) {
  auto index = ChainIndex::build(chains, with_default ? Chain("default") : std::shared_ptr<const model::FilterChain>());
  if (!index) return "error: " + index.error().message;
  const auto& chain = (*index)->find(facts);
  ChainDecision explained = (*index)->explain(facts);
  EXPECT_EQ(explained.chain, chain);
  EXPECT_NE(explained.why, "");
  return chain ? chain->name : "";
}

TEST(ChainMatchTest, takes_the_default_chain_when_nothing_matches) {
  EXPECT_EQ(found({}, Facts()), "");
  EXPECT_EQ(found({}, Facts(), true), "default");
  EXPECT_EQ(found({Chain("p").port(81)}, Facts()), "");
  EXPECT_EQ(found({Chain("p").port(81)}, Facts(), true), "default");
  EXPECT_EQ(found({Chain("all")}, Facts(), true), "all");
}

TEST(ChainMatchTest, prefers_the_destination_port) {
  Chains chains = {Chain("any"), Chain("80").port(80), Chain("443").port(443)};
  EXPECT_EQ(found(chains, Facts("10.0.0.1", 80)), "80");
  EXPECT_EQ(found(chains, Facts("10.0.0.1", 443)), "443");
  EXPECT_EQ(found(chains, Facts("10.0.0.1", 81)), "any");
}

TEST(ChainMatchTest, prefers_the_longest_destination_prefix) {
  Chains chains = {Chain("any"), Chain("8").prefix("10.0.0.0", 8), Chain("24").prefix("10.0.0.0", 24),
                   Chain("32").prefix("10.0.0.7", 32), Chain("v6").prefix("fd00::", 8)};
  EXPECT_EQ(found(chains, Facts("10.0.0.7")), "32");
  EXPECT_EQ(found(chains, Facts("10.0.0.8")), "24");
  EXPECT_EQ(found(chains, Facts("10.9.0.8")), "8");
  EXPECT_EQ(found(chains, Facts("11.0.0.8")), "any");
  EXPECT_EQ(found(chains, Facts("fd12::1")), "v6");
  EXPECT_EQ(found(chains, Facts("fe80::1")), "any");
}

TEST(ChainMatchTest, compares_prefixes_as_networks) {
  // 10.0.0.1/8 and 10.0.0.2/8 are one network, whose server names are one level.
  Chains chains = {Chain("a").prefix("10.0.0.1", 8).names({"a"}), Chain("b").prefix("10.0.0.2", 8).names({"b"})};
  EXPECT_EQ(found(chains, Facts("10.9.9.9").sni("a")), "a");
  EXPECT_EQ(found(chains, Facts("10.9.9.9").sni("b")), "b");
}

TEST(ChainMatchTest, prefers_the_exact_server_name_then_the_longest_wildcard) {
  Chains chains = {Chain("any"), Chain("exact").names({"www.example.com"}), Chain("example").names({"*.example.com"}),
                   Chain("com").names({"*.com", "*.org"})};
  EXPECT_EQ(found(chains, Facts().sni("www.example.com")), "exact");
  EXPECT_EQ(found(chains, Facts().sni("api.example.com")), "example");
  EXPECT_EQ(found(chains, Facts().sni("a.b.example.com")), "example");
  EXPECT_EQ(found(chains, Facts().sni("example.com")), "com");
  EXPECT_EQ(found(chains, Facts().sni("x.org")), "com");
  EXPECT_EQ(found(chains, Facts().sni("com")), "any");
  EXPECT_EQ(found(chains, Facts().sni("x.net")), "any");
  EXPECT_EQ(found(chains, Facts()), "any");
}

TEST(ChainMatchTest, a_wildcard_stands_for_at_least_one_label) {
  Chains chains = {Chain("any"), Chain("example").names({"*.example.com"})};
  EXPECT_EQ(found(chains, Facts().sni(".example.com")), "any");
}

TEST(ChainMatchTest, compares_the_transport_protocol) {
  Chains chains = {Chain("tls").transport("tls"), Chain("raw").transport("raw_buffer")};
  EXPECT_EQ(found(chains, Facts().sni("a")), "tls");
  EXPECT_EQ(found(chains, Facts()), "raw");
  EXPECT_EQ(found({Chain("any"), Chain("tls").transport("tls")}, Facts()), "any");
  EXPECT_EQ(found({Chain("tls").transport("tls")}, Facts()), "");
}

TEST(ChainMatchTest, takes_the_first_offered_application_protocol_that_is_known) {
  Chains chains = {Chain("any"), Chain("h2").alpn({"h2", "istio-h2"}), Chain("h1").alpn({"http/1.1"})};
  EXPECT_EQ(found(chains, Facts().offers({"h2", "http/1.1"})), "h2");
  EXPECT_EQ(found(chains, Facts().offers({"http/1.1", "h2"})), "h1");
  EXPECT_EQ(found(chains, Facts().offers({"x", "istio-h2"})), "h2");
  EXPECT_EQ(found(chains, Facts().offers({"x"})), "any");
  EXPECT_EQ(found(chains, Facts()), "any");
}

TEST(ChainMatchTest, tells_local_from_external_sources) {
  Chains chains = {Chain("any"), Chain("local").type(SourceType::kSameIpOrLoopback),
                   Chain("ext").type(SourceType::kExternal)};
  EXPECT_EQ(found(chains, Facts("10.0.0.1").from("127.0.0.1")), "local");
  EXPECT_EQ(found(chains, Facts("10.0.0.1").from("127.0.0.9")), "local");
  EXPECT_EQ(found(chains, Facts("10.0.0.1").from("10.0.0.1")), "local");
  EXPECT_EQ(found(chains, Facts("10.0.0.1").from("10.0.0.2")), "ext");
  EXPECT_EQ(found(chains, Facts("fd00::1").from("::1")), "local");
  EXPECT_EQ(found(chains, Facts("fd00::1").from("fd00::1")), "local");
  EXPECT_EQ(found(chains, Facts("fd00::1").from("fd00::2")), "ext");
  Chains two = {Chain("any"), Chain("ext").type(SourceType::kExternal)};
  EXPECT_EQ(found(two, Facts().from("127.0.0.1")), "any");
}

TEST(ChainMatchTest, prefers_the_longest_source_prefix_then_the_source_port) {
  Chains chains = {Chain("any"), Chain("8").source("192.0.0.0", 8), Chain("16").source("192.168.0.0", 16),
                   Chain("16 and port").source("192.168.0.0", 16).ports({1000, 1001}), Chain("port").ports({7})};
  EXPECT_EQ(found(chains, Facts().from("192.168.0.1", 5)), "16");
  EXPECT_EQ(found(chains, Facts().from("192.168.0.1", 1000)), "16 and port");
  EXPECT_EQ(found(chains, Facts().from("192.168.0.1", 1001)), "16 and port");
  EXPECT_EQ(found(chains, Facts().from("192.1.0.1", 1000)), "8");
  EXPECT_EQ(found(chains, Facts().from("1.1.1.1", 7)), "port");
  EXPECT_EQ(found(chains, Facts().from("1.1.1.1", 8)), "any");
}

TEST(ChainMatchTest, prefers_the_longest_direct_source_prefix) {
  Chains chains = {Chain("any"), Chain("8").direct("192.0.0.0", 8), Chain("16").direct("192.168.0.0", 16)};
  EXPECT_EQ(found(chains, Facts().from("192.168.0.1")), "16");
  EXPECT_EQ(found(chains, Facts().from("192.1.0.1")), "8");
  EXPECT_EQ(found(chains, Facts().from("1.1.0.1")), "any");
}

TEST(ChainMatchTest, weighs_the_criteria_in_envoys_order) {
  // Of each pair the first chain is better at the earlier criterion, the second at the later one.
  Facts facts = Facts("10.0.0.1", 443).sni("a.b").offers({"h2"}).from("10.0.0.1", 1000);
  struct {
    const char* what;
    Chains chains;
  } cases[] = {
      {"port over prefix", {Chain("x").port(443), Chain("y").prefix("10.0.0.1", 32)}},
      {"prefix over name", {Chain("x").prefix("10.0.0.0", 8), Chain("y").names({"a.b"})}},
      {"exact name over wildcard with transport",
       {Chain("x").names({"a.b"}), Chain("y").names({"*.b"}).transport("tls")}},
      {"name over transport", {Chain("x").names({"a.b"}), Chain("y").transport("tls")}},
      {"transport over ALPN", {Chain("x").transport("tls"), Chain("y").alpn({"h2"})}},
      {"ALPN over direct source", {Chain("x").alpn({"h2"}), Chain("y").direct("10.0.0.1", 32)}},
      {"direct source over source type",
       {Chain("x").direct("10.0.0.0", 8), Chain("y").type(SourceType::kSameIpOrLoopback)}},
      {"source type over source", {Chain("x").type(SourceType::kSameIpOrLoopback), Chain("y").source("10.0.0.1", 32)}},
      {"source over source port", {Chain("x").source("10.0.0.0", 8), Chain("y").ports({1000})}},
  };
  for (const auto& c : cases) EXPECT_EQ(found(c.chains, facts), "x") << c.what;
}

TEST(ChainMatchTest, never_goes_back_to_a_worse_match_of_an_earlier_criterion) {
  // The chain "lost" wins the earlier criterion and fails a later one; "all" would take everything.
  Facts facts = Facts("10.0.0.1", 443).sni("a.b").offers({"h2"}).from("192.168.0.9", 1000);
  struct {
    const char* what;
    Chain lost;
  } cases[] = {
      {"port, then prefix", Chain("lost").port(443).prefix("11.0.0.0", 8)},
      {"port, then name", Chain("lost").port(443).names({"other"})},
      {"prefix, then name", Chain("lost").prefix("10.0.0.0", 8).names({"other"})},
      {"prefix, then transport", Chain("lost").prefix("10.0.0.0", 8).transport("raw_buffer")},
      {"name, then transport", Chain("lost").names({"a.b"}).transport("raw_buffer")},
      {"wildcard name, then ALPN", Chain("lost").names({"*.b"}).alpn({"other"})},
      {"transport, then ALPN", Chain("lost").transport("tls").alpn({"other"})},
      {"ALPN, then direct source", Chain("lost").alpn({"h2"}).direct("1.0.0.0", 8)},
      {"ALPN, then source", Chain("lost").alpn({"h2"}).source("1.0.0.0", 8)},
      {"direct source, then source type", Chain("lost").direct("192.168.0.0", 16).type(SourceType::kSameIpOrLoopback)},
      {"source type, then source", Chain("lost").type(SourceType::kExternal).source("1.0.0.0", 8)},
      {"source type, then port", Chain("lost").type(SourceType::kExternal).ports({7})},
      {"source, then port", Chain("lost").source("192.168.0.0", 16).ports({7})},
  };
  for (const auto& c : cases) EXPECT_EQ(found({c.lost, Chain("all")}, facts, true), "default") << c.what;
}

TEST(ChainMatchTest, lets_a_chain_have_several_of_everything) {
  Chains chains = {
      Chain("x").prefix("10.0.0.0", 8).prefix("11.0.0.0", 8).names({"a", "b"}).alpn({"p", "q"}).ports({1, 2})};
  for (const char* ip : {"10.1.1.1", "11.1.1.1"}) {
    for (const char* name : {"a", "b"}) {
      for (const char* protocol : {"p", "q"}) {
        EXPECT_EQ(found(chains, Facts(ip).sni(name).offers({protocol}).from("1.1.1.1", 2)), "x");
      }
    }
  }
  EXPECT_EQ(found(chains, Facts("10.1.1.1").sni("a").offers({"p"}).from("1.1.1.1", 3)), "");
}

TEST(ChainMatchTest, refuses_two_chains_with_the_same_match_and_names_them) {
  struct {
    const char* what;
    Chain first, second;
  } cases[] = {
      {"no criteria", Chain("one"), Chain("two")},
      {"one port", Chain("one").port(80), Chain("two").port(80)},
      {"one name among several", Chain("one").names({"a", "b"}), Chain("two").names({"b", "c"})},
      {"one prefix among several", Chain("one").prefix("10.0.0.0", 8),
       Chain("two").prefix("11.0.0.0", 8).prefix("10.0.0.0", 8)},
      {"one network written twice", Chain("one").prefix("10.0.0.1", 8), Chain("two").prefix("10.0.0.2", 8)},
      {"one ALPN among several", Chain("one").alpn({"h2", "x"}), Chain("two").alpn({"h2"})},
      {"one source port among several", Chain("one").ports({1, 2}), Chain("two").ports({2, 3})},
      {"one source range among several", Chain("one").source("1.0.0.0", 8).source("2.0.0.0", 8),
       Chain("two").source("2.0.0.0", 8)},
      {"the same ports in another order", Chain("one").ports({1, 2}), Chain("two").ports({2, 1})},
  };
  for (const auto& c : cases) {
    auto index = ChainIndex::build({c.first, c.second}, nullptr);
    EXPECT_FALSE(index) << c.what;
    if (index) continue;
    EXPECT_NE(index.error().message.find("one"), std::string::npos);
    EXPECT_NE(index.error().message.find("two"), std::string::npos);
  }
  EXPECT_TRUE(ChainIndex::build({Chain("one").names({"a"}), Chain("two").names({"*.a"})}, nullptr));
  EXPECT_TRUE(ChainIndex::build({Chain("one").ports({1}), Chain("two").ports({2})}, nullptr));
  EXPECT_TRUE(ChainIndex::build({Chain("one").source("1.0.0.0", 8), Chain("two").source("1.0.0.0", 9)}, nullptr));
}

}  // namespace
}  // namespace pinnace::route
