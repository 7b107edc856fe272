#include "filters/listener/proxy_protocol.h"

#include <gtest/gtest.h>

#include "proxy/upstream/proxy_header.h"

namespace pinnace::filters::listener {
namespace {

using State = ProxyHeaderState;

State parse(std::string_view text, ProxyHeader& header) {
  return parse_proxy_header({reinterpret_cast<const uint8_t*>(text.data()), text.size()}, header);
}

std::string v2(std::string_view command_and_family, std::string_view rest) {
  std::string out("\r\n\r\n\0\r\nQUIT\n", 12);
  out += command_and_family;
  out += static_cast<char>(rest.size() >> 8);
  out += static_cast<char>(rest.size() & 255);
  out += rest;
  return out;
}

const std::string kAddresses("\x01\x02\x03\x04\x05\x06\x07\x08\x10\x00\x00\x50", 12);

TEST(ProxyProtocolTest, reads_version_1) {
  ProxyHeader header;
  ASSERT_EQ(parse("PROXY TCP4 1.2.3.4 5.6.7.8 4096 80\r\nGET /", header), State::kDone);
  EXPECT_TRUE(header.has_addresses);
  EXPECT_EQ(header.source.text(), "1.2.3.4:4096");
  EXPECT_EQ(header.destination.text(), "5.6.7.8:80");
  EXPECT_EQ(header.size, 36u);
  ASSERT_EQ(parse("PROXY TCP6 ::1 fe80::2 1 65535\r\n", header), State::kDone);
  EXPECT_EQ(header.destination.text(), "[fe80::2]:65535");
  ASSERT_EQ(parse("PROXY UNKNOWN ffff::1 whatever\r\n", header), State::kDone);
  EXPECT_FALSE(header.has_addresses);
}

TEST(ProxyProtocolTest, waits_for_the_whole_header) {
  for (std::string whole : {std::string("PROXY TCP4 1.2.3.4 5.6.7.8 4096 80\r\n"), v2("\x21\x11", kAddresses)}) {
    for (size_t n = 1; n < whole.size(); n++) {
      ProxyHeader header;
      EXPECT_EQ(parse(whole.substr(0, n), header), State::kNeedMore) << n;
    }
  }
}

TEST(ProxyProtocolTest, refuses_a_broken_version_1) {
  for (std::string_view text : {"PROXY TCP4 1.2.3.4 5.6.7.8 4096\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 4096 80 \r\n",
                                "PROXY TCP4  1.2.3.4 5.6.7.8 4096 80\r\n", "PROXY TCP4 ::1 ::2 4096 80\r\n",
                                "PROXY TCP6 1.2.3.4 5.6.7.8 4096 80\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 65536 80\r\n",
                                "PROXY TCP4 1.2.3.4 5.6.7.8 0080 80\r\n", "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
                                "PROXY TCP6 fe80::1%eth0 ::2 4096 80\r\n"}) {
    ProxyHeader header;
    EXPECT_EQ(parse(text, header), State::kInvalid) << text;
  }
  ProxyHeader header;
  EXPECT_EQ(parse("PROXY UNKNOWN " + std::string(200, 'x'), header), State::kInvalid) << "no end within 107 bytes";
}

TEST(ProxyProtocolTest, reads_version_2) {
  ProxyHeader header;
  ASSERT_EQ(parse(v2("\x21\x11", kAddresses) + "GET", header), State::kDone);
  EXPECT_TRUE(header.has_addresses);
  EXPECT_EQ(header.source.text(), "1.2.3.4:4096");
  EXPECT_EQ(header.destination.text(), "5.6.7.8:80");
  EXPECT_EQ(header.size, 28u);
  ASSERT_EQ(parse(v2("\x21\x11", kAddresses + std::string("\x03\x00\x02\xab\xcd", 5)), header), State::kDone)
      << "a TLV";
}

TEST(ProxyProtocolTest, local_and_unspecified_have_no_addresses) {
  ProxyHeader header;
  ASSERT_EQ(parse(v2(std::string("\x20\0", 2), ""), header), State::kDone);
  EXPECT_FALSE(header.has_addresses);
  ASSERT_EQ(parse(v2("\x20\x11", kAddresses), header), State::kDone) << "LOCAL with addresses";
  EXPECT_FALSE(header.has_addresses);
  ASSERT_EQ(parse(v2(std::string("\x21\0", 2), "abc"), header), State::kDone) << "UNSPEC";
  EXPECT_FALSE(header.has_addresses);
}

TEST(ProxyProtocolTest, refuses_a_broken_version_2) {
  ProxyHeader header;
  EXPECT_EQ(parse(v2("\x21\x11", kAddresses.substr(0, 11)), header), State::kInvalid) << "addresses cut short";
  EXPECT_EQ(parse(v2("\x21\x21", kAddresses), header), State::kInvalid) << "IPv6 with the bytes of IPv4";
  EXPECT_EQ(parse(v2("\x21\x31", std::string(216, 'x')), header), State::kInvalid) << "a unix socket";
  EXPECT_EQ(parse(v2("\x21\x12", kAddresses), header), State::kInvalid) << "UDP";
  EXPECT_EQ(parse(v2("\x11\x11", kAddresses), header), State::kInvalid) << "another version";
  EXPECT_EQ(parse(v2("\x22\x11", kAddresses), header), State::kInvalid) << "another command";
  EXPECT_EQ(parse(v2("\x21\x11", kAddresses + std::string("\x03\x00\x05\xab", 4)), header), State::kInvalid)
      << "a TLV longer than the header";
  EXPECT_EQ(parse(v2("\x21\x11", kAddresses + "\x03"), header), State::kInvalid) << "half a TLV";
}

// Rules about 1.2.3.4 hold for it in whichever form a load balancer writes it.
TEST(ProxyProtocolTest, a_mapped_address_is_the_one_it_stands_for) {
  ProxyHeader header;
  ASSERT_EQ(parse("PROXY TCP6 ::ffff:1.2.3.4 ::2 4096 80\r\n", header), State::kDone);
  EXPECT_EQ(header.source.text(), "1.2.3.4:4096");
  EXPECT_EQ(header.destination.text(), "[::2]:80");
  std::string mapped = std::string(10, '\0') + "\xff\xff\x01\x02\x03\x04", two = std::string(15, '\0') + "\x02";
  ASSERT_EQ(parse(v2("\x21\x21", mapped + two + std::string("\x10\x00\x00\x50", 4)), header), State::kDone);
  EXPECT_EQ(header.source.text(), "1.2.3.4:4096");
  EXPECT_EQ(header.destination.text(), "[::2]:80");
}

TEST(ProxyProtocolTest, other_protocols_begin_no_header) {
  ProxyHeader header;
  EXPECT_EQ(parse("GET / HTTP/1.1\r\n", header), State::kAbsent);
  EXPECT_EQ(parse("PROXIED", header), State::kAbsent);
  EXPECT_EQ(parse("\r\n\r\nGET", header), State::kAbsent);
}

TEST(ProxyProtocolTest, reads_what_the_upstream_side_writes) {
  auto source = *base::Address::ip("10.0.0.1", 1234), destination = *base::Address::ip("10.0.0.2", 443);
  auto source6 = *base::Address::ip("fd00::1", 1234), destination6 = *base::Address::ip("fd00::2", 443);
  for (auto version : {model::ProxyProtocol::kV1, model::ProxyProtocol::kV2}) {
    ProxyHeader header;
    ASSERT_EQ(parse(upstream::proxy_header(version, &source, &destination), header), State::kDone);
    EXPECT_EQ(header.source, source);
    EXPECT_EQ(header.destination, destination);
    ASSERT_EQ(parse(upstream::proxy_header(version, &source6, &destination6), header), State::kDone);
    EXPECT_EQ(header.source, source6);
    ASSERT_EQ(parse(upstream::proxy_header(version, &source6, &destination), header), State::kDone);
    EXPECT_FALSE(header.has_addresses) << "of two families";
    ASSERT_EQ(parse(upstream::proxy_header(version, nullptr, nullptr), header), State::kDone);
    EXPECT_FALSE(header.has_addresses);
  }
}

}  // namespace
}  // namespace pinnace::filters::listener
