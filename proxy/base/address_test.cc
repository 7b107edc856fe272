#include "proxy/base/address.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <string>

namespace pinnace::base {
namespace {

Address ip(std::string_view text, uint16_t port = 0) { return Address::ip(text, port).value(); }

TEST(AddressTest, reads_and_prints_ip_addresses) {
  struct {
    const char* in;
    const char* out;
    Address::Kind kind;
  } cases[] = {
      {"1.2.3.4", "1.2.3.4:80", Address::Kind::kIpv4},
      {"0.0.0.0", "0.0.0.0:80", Address::Kind::kIpv4},
      {"255.255.255.255", "255.255.255.255:80", Address::Kind::kIpv4},
      {"::1", "[::1]:80", Address::Kind::kIpv6},
      {"::", "[::]:80", Address::Kind::kIpv6},
      {"FD00:0:0::00AB", "[fd00::ab]:80", Address::Kind::kIpv6},
      {"::ffff:1.2.3.4", "[::ffff:1.2.3.4]:80", Address::Kind::kIpv6},
  };
  for (const auto& c : cases) {
    Address address = ip(c.in, 80);
    EXPECT_EQ(address.kind(), c.kind) << c.in;
    EXPECT_EQ(address.text(), c.out);
    EXPECT_EQ(address.port(), 80);
    EXPECT_TRUE(address.is_ip());
  }
  EXPECT_EQ(ip("1.2.3.4", 80).ip_text(), "1.2.3.4");
  EXPECT_EQ(ip("::1", 80).ip_text(), "::1");
}

TEST(AddressTest, refuses_what_is_no_ip_literal) {
  for (const char* text :
       {"", "a", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.4:80", "[::1]", "::1::", "1.2.3.4 ", " 1.2.3.4",
        "fe80::1%lo", "01.2.3.4", "0x1.2.3.4", "12345::1", "1111:2222:3333:4444:5555:6666:7777:8888:9999"}) {
    EXPECT_FALSE(Address::ip(text, 0)) << text;
  }
  EXPECT_FALSE(Address::ip(std::string_view("1.2.3.4\0.evil", 13), 0)) << "a NUL does not end the text";
  EXPECT_FALSE(Address::ip(std::string(5000, '1'), 0));
}

TEST(AddressTest, compares_kind_bytes_and_port) {
  EXPECT_EQ(ip("1.2.3.4", 80), ip("1.2.3.4", 80));
  EXPECT_FALSE(ip("1.2.3.4", 80) == ip("1.2.3.4", 81));
  EXPECT_FALSE(ip("1.2.3.4", 80) == ip("1.2.3.5", 80));
  EXPECT_FALSE(ip("0.0.0.0") == ip("::"));
  EXPECT_EQ(ip("::0:1"), ip("::1"));
  EXPECT_EQ(Address::pipe("/a"), Address::pipe("/a"));
  EXPECT_FALSE(Address::pipe("/a") == Address::pipe("/b"));
  EXPECT_FALSE(Address::pipe("/a") == Address::internal("/a"));
  EXPECT_EQ(Address(), Address());
  EXPECT_EQ(ip("1.2.3.4", 80).hash(), ip("1.2.3.4", 80).hash());
  EXPECT_EQ(Address::pipe("/a").hash(), Address::pipe("/a").hash());
  std::set<size_t> hashes;
  for (uint16_t port = 0; port < 1000; port++) hashes.insert(ip("1.2.3.4", port).hash());
  EXPECT_GT(hashes.size(), 990u);
}

TEST(AddressTest, prints_pipes_and_internal_addresses) {
  EXPECT_EQ(Address::pipe("/run/x.sock").text(), "/run/x.sock");
  EXPECT_EQ(Address::pipe("/run/x.sock").ip_text(), "");
  EXPECT_EQ(Address::internal("name").text(), "envoy://name");
  EXPECT_FALSE(Address::pipe("/a").is_ip());
}

TEST(AddressTest, knows_the_unspecified_addresses) {
  EXPECT_TRUE(ip("0.0.0.0", 80).is_any());
  EXPECT_TRUE(ip("::", 80).is_any());
  EXPECT_FALSE(ip("0.0.0.1").is_any());
  EXPECT_FALSE(ip("::1").is_any());
  EXPECT_FALSE(Address::pipe("/a").is_any());
}

TEST(AddressTest, takes_an_ipv4_address_out_of_ipv6) {
  EXPECT_EQ(ip("::ffff:1.2.3.4", 80).unmapped(), ip("1.2.3.4", 80));
  for (const char* text : {"1.2.3.4", "::1", "::1.2.3.4", "fd00::ffff:1.2.3.4"})
    EXPECT_EQ(ip(text, 5).unmapped(), ip(text, 5));
  EXPECT_EQ(Address::pipe("/a").unmapped(), Address::pipe("/a"));
}

TEST(AddressTest, goes_through_a_sockaddr_and_back) {
  for (const Address& address : {ip("1.2.3.4", 80), ip("fd00::1", 65535), ip("::", 0), Address::pipe("/run/x.sock")}) {
    sockaddr_storage storage;
    std::memset(&storage, 0xee, sizeof storage);
    socklen_t size = address.to_sockaddr(storage);
    EXPECT_EQ(storage.ss_family, address.family());
    EXPECT_EQ(Address::from_sockaddr(storage, size), address) << address.text();
  }
}

TEST(AddressTest, changes_only_the_port) {
  EXPECT_EQ(ip("1.2.3.4", 80).with_port(81), ip("1.2.3.4", 81));
  Address address = ip("::1", 80);
  address.set_port(81);
  EXPECT_EQ(address, ip("::1", 81));
}

TEST(CidrTest, contains_the_addresses_of_its_network) {
  struct {
    const char* base;
    int length;
    const char* address;
    bool inside;
  } cases[] = {
      {"10.0.0.0", 8, "10.255.1.2", true},
      {"10.0.0.0", 8, "11.0.0.0", false},
      {"10.0.0.77", 8, "10.1.1.1", true},
      {"0.0.0.0", 0, "200.1.1.1", true},
      {"0.0.0.0", 0, "::1", false},
      {"1.2.3.4", 32, "1.2.3.4", true},
      {"1.2.3.4", 32, "1.2.3.5", false},
      {"1.2.3.4", 31, "1.2.3.5", true},
      {"1.2.3.4", 31, "1.2.3.6", false},
      {"192.168.128.0", 17, "192.168.127.255", false},
      {"192.168.128.0", 17, "192.168.200.1", true},
      {"fd00::", 8, "fdff::1", true},
      {"fd00::", 8, "fe00::1", false},
      {"::1", 128, "::1", true},
      {"::1", 128, "::2", false},
      {"::", 0, "fd00::1", true},
      {"::", 0, "1.2.3.4", false},
      {"2001:db8::", 33, "2001:db8:7fff::", true},
      {"2001:db8::", 33, "2001:db8:8000::", false},
  };
  for (const auto& c : cases) {
    auto cidr = Cidr::parse(c.base, c.length);
    ASSERT_TRUE(cidr) << c.base;
    EXPECT_EQ(cidr->contains(ip(c.address, 99)), c.inside) << c.base << "/" << c.length << " " << c.address;
    EXPECT_FALSE(cidr->contains(Address::pipe("/a")));
  }
}

TEST(CidrTest, refuses_lengths_and_addresses_that_do_not_exist) {
  EXPECT_FALSE(Cidr::parse("1.2.3.4", 33));
  EXPECT_FALSE(Cidr::parse("1.2.3.4", -1));
  EXPECT_FALSE(Cidr::parse("::1", 129));
  EXPECT_FALSE(Cidr::parse("x", 8));
  EXPECT_TRUE(Cidr::parse("::1", 128));
}

}  // namespace
}  // namespace pinnace::base
