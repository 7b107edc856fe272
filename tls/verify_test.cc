// Whose certificate is it: SAN matchers by type, odd names, wildcards and pins. Certificates are made in memory.
#include "tls/verify.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <string>
#include <vector>

#include "tls/certificate.h"

namespace pinnace::tls {
namespace {

using model::SanMatcher;
using model::SanType;
using model::StringMatcher;
using Kind = StringMatcher::Kind;

struct Name {
  int type;  // GEN_DNS, GEN_URI, ...
  std::string value;
};

EVP_PKEY* key() {
  static EVP_PKEY* const made = EVP_EC_gen("P-256");
  return made;
}

X509Ptr certificate(const std::vector<Name>& names, const std::string& common_name = "") {
  X509Ptr x509(X509_new());
  X509_set_version(x509.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x509.get()), 7);
  X509_gmtime_adj(X509_getm_notBefore(x509.get()), 0);
  X509_gmtime_adj(X509_getm_notAfter(x509.get()), 3600);
  X509_set_pubkey(x509.get(), key());
  if (!common_name.empty()) {
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x509.get()), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(common_name.data()),
                               static_cast<int>(common_name.size()), -1, 0);
  }
  if (!names.empty()) {
    GENERAL_NAMES* list = GENERAL_NAMES_new();
    for (const auto& name : names) {
      ASN1_STRING* text = ASN1_STRING_type_new(name.type == GEN_IPADD ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);
      ASN1_STRING_set(text, name.value.data(), static_cast<int>(name.value.size()));
      GENERAL_NAME* general = GENERAL_NAME_new();
      GENERAL_NAME_set0_value(general, name.type, text);
      sk_GENERAL_NAME_push(list, general);
    }
    X509_add1_ext_i2d(x509.get(), NID_subject_alt_name, list, 0, 0);
    GENERAL_NAMES_free(list);
  }
  X509_sign(x509.get(), key(), EVP_sha256());
  // As it comes off the wire.
  unsigned char* der = nullptr;
  int size = i2d_X509(x509.get(), &der);
  const unsigned char* at = der;
  X509Ptr read(d2i_X509(nullptr, &at, size));
  OPENSSL_free(der);
  return read;
}

SanMatcher matcher(SanType type, const std::string& text, Kind kind = Kind::kExact, bool ignore_case = false) {
  return {type, StringMatcher::literal(kind, text, ignore_case)};
}

bool accepts(const std::vector<Name>& names, const std::vector<SanMatcher>& matchers) {
  return check_sans(certificate(names).get(), matchers).empty();
}

constexpr const char* kId = "spiffe://cluster.local/ns/a/sa/b";

TEST(CheckSansTest, compares_names_with_matchers_of_their_own_type_only) {
  const std::vector<std::pair<int, SanType>> types = {
      {GEN_DNS, SanType::kDns}, {GEN_URI, SanType::kUri}, {GEN_EMAIL, SanType::kEmail}};
  for (const char* text : {"a.example", kId, "u@a.example"}) {
    for (auto [in_certificate, _] : types) {
      for (auto [other, wanted] : types) {
        for (Kind kind : {Kind::kExact, Kind::kPrefix, Kind::kContains}) {
          EXPECT_EQ(accepts({{in_certificate, text}}, {matcher(wanted, text, kind)}), in_certificate == other)
              << text << " as type " << in_certificate << ", wanted as " << other;
        }
      }
      EXPECT_FALSE(accepts({{in_certificate, text}}, {matcher(SanType::kIp, text)}));
      EXPECT_TRUE(accepts({{in_certificate, text}}, {matcher(SanType::kAny, text)})) << "untyped rules take any type";
    }
  }
}

TEST(CheckSansTest, compares_whole_identities) {
  EXPECT_TRUE(accepts({{GEN_URI, kId}}, {matcher(SanType::kUri, kId)}));
  for (const std::string& other :
       {std::string(kId) + "x", std::string(kId).substr(1), std::string("SPIFFE://cluster.local/ns/a/sa/b"),
        std::string("spiffe://cluster.local/ns/a/sa/"), std::string(kId) + "/", std::string()}) {
    EXPECT_FALSE(accepts({{GEN_URI, other}}, {matcher(SanType::kUri, kId)})) << other;
  }
  EXPECT_TRUE(accepts({{GEN_URI, kId}}, {matcher(SanType::kUri, "spiffe://cluster.local/", Kind::kPrefix)}));
  EXPECT_FALSE(accepts({{GEN_URI, kId}}, {matcher(SanType::kUri, "spiffe://other/", Kind::kPrefix)}));
  EXPECT_FALSE(accepts({{GEN_URI, "*"}}, {matcher(SanType::kUri, kId)})) << "no wildcards in URIs";
  EXPECT_FALSE(accepts({{GEN_URI, "*.local"}}, {matcher(SanType::kUri, "a.local")}));
}

TEST(CheckSansTest, takes_a_name_with_a_nul_for_no_name) {
  const std::string dns("good.example\0.evil.example", 26), uri = std::string(kId) + std::string("\0x", 2);
  for (Kind kind : {Kind::kExact, Kind::kPrefix, Kind::kContains}) {
    EXPECT_FALSE(accepts({{GEN_DNS, dns}}, {matcher(SanType::kDns, "good.example", kind)}));
    EXPECT_FALSE(accepts({{GEN_URI, uri}}, {matcher(SanType::kUri, kId, kind)}));
  }
  EXPECT_FALSE(accepts({{GEN_DNS, dns}}, {matcher(SanType::kDns, ".evil.example", Kind::kSuffix)}));
  EXPECT_TRUE(accepts({{GEN_DNS, dns}, {GEN_DNS, "good.example"}}, {matcher(SanType::kDns, "good.example")}))
      << "others still count";
  EXPECT_TRUE(san_names(certificate({{GEN_DNS, dns}}).get()).dns.empty());
}

TEST(CheckSansTest, reads_addresses_from_their_bytes) {
  const std::string v4("\x01\x02\x03\x04", 4), v6 = std::string(15, '\0') + "\x01";
  EXPECT_TRUE(accepts({{GEN_IPADD, v4}}, {matcher(SanType::kIp, "1.2.3.4")}));
  EXPECT_TRUE(accepts({{GEN_IPADD, v6}}, {matcher(SanType::kIp, "::1")}));
  EXPECT_FALSE(accepts({{GEN_IPADD, v4}}, {matcher(SanType::kDns, "1.2.3.4")}));
  EXPECT_FALSE(accepts({{GEN_DNS, "1.2.3.4"}}, {matcher(SanType::kIp, "1.2.3.4")}));
  for (size_t size : {0, 3, 5, 8, 15, 17, 32}) {
    EXPECT_TRUE(san_names(certificate({{GEN_IPADD, std::string(size, '\x01')}}).get()).ip.empty()) << size;
  }
}

TEST(CheckSansTest, never_looks_at_the_common_name) {
  auto x509 = certificate({}, "good.example");
  EXPECT_NE(check_sans(x509.get(), {matcher(SanType::kDns, "good.example")}), "");
  EXPECT_NE(check_sans(x509.get(), {matcher(SanType::kAny, "good.example")}), "");
  EXPECT_EQ(subject_of(x509.get()), "CN=good.example");
}

TEST(CheckSansTest, is_content_with_any_name_and_any_matcher) {
  const std::vector<Name> names = {{GEN_DNS, "a.example"}, {GEN_URI, kId}, {GEN_DNS, "b.example"}};
  EXPECT_TRUE(accepts(names, {matcher(SanType::kDns, "b.example")}));
  EXPECT_TRUE(accepts(names, {matcher(SanType::kDns, "x"), matcher(SanType::kUri, kId)}));
  EXPECT_FALSE(accepts(names, {matcher(SanType::kDns, "x"), matcher(SanType::kUri, "y")}));
  EXPECT_TRUE(accepts(names, {})) << "nothing is asked";
  EXPECT_TRUE(accepts({}, {}));
}

TEST(CheckSansTest, says_which_names_there_are) {
  std::string why =
      check_sans(certificate({{GEN_DNS, "a.example"}, {GEN_URI, kId}}).get(), {matcher(SanType::kUri, "x")});
  EXPECT_NE(why.find("a.example"), std::string::npos);
  EXPECT_NE(why.find(kId), std::string::npos);
  EXPECT_NE(check_sans(certificate({}).get(), {matcher(SanType::kUri, "x")}), "");
}

TEST(DnsNameTest, a_wildcard_stands_for_one_label) {
  struct {
    const char* pattern;
    const char* name;
    bool matched;
  } cases[] = {
      {"a.example.com", "a.example.com", true},
      {"A.Example.com", "a.eXample.COM", true},
      {"*.example.com", "a.example.com", true},
      {"*.Example.com", "A.example.COM", true},
      {"*.example.com", "a.b.example.com", false},
      {"*.example.com", "example.com", false},
      {"*.example.com", ".example.com", false},
      {"*.example.com", "a.example.org", false},
      {"*.example.com", "*.example.com", true},
      {"*", "example", false},
      {"*", "a.example.com", false},
      {"*.", "a.", false},
      {"a.*.com", "a.b.com", false},
      {"*.*.com", "a.b.com", false},
      {"a*.example.com", "ab.example.com", false},
      {"*a.example.com", "ba.example.com", false},
      {"**.example.com", "a.example.com", false},
      {"a.example.com", "*.example.com", false},
      {"", "", true},
      {"", "a", false},
      {"*.example.com", "", false},
      {"example.com", "example.com.", false},
      {".example.com", "a.example.com", false},
  };
  for (const auto& c : cases) EXPECT_EQ(dns_name_matches(c.pattern, c.name), c.matched) << c.pattern << " " << c.name;
}

TEST(DnsNameTest, wildcards_count_for_exact_dns_matchers_only) {
  EXPECT_TRUE(accepts({{GEN_DNS, "*.example.com"}}, {matcher(SanType::kDns, "a.example.com")}));
  EXPECT_FALSE(accepts({{GEN_DNS, "*.example.com"}}, {matcher(SanType::kDns, "a.b.example.com")}));
  EXPECT_FALSE(accepts({{GEN_DNS, "*.example.com"}}, {matcher(SanType::kDns, "a.example.com", Kind::kPrefix)}));
  EXPECT_FALSE(accepts({{GEN_DNS, "a.example.com"}}, {matcher(SanType::kDns, "*.example.com")}))
      << "the rule is no pattern";
  EXPECT_FALSE(accepts({{GEN_EMAIL, "*.example.com"}}, {matcher(SanType::kEmail, "a.example.com")}));
}

TEST(CheckPinsTest, accepts_one_matching_pin_of_either_kind) {
  auto x509 = certificate({{GEN_URI, kId}});
  const std::string hash = sha256_of(x509.get()), spki = spki_sha256_base64(x509.get());
  EXPECT_EQ(hash.size(), 64u);
  EXPECT_EQ(hash.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_EQ(spki.size(), 44u);
  EXPECT_EQ(check_pins(x509.get(), {}, {}), "");
  EXPECT_EQ(check_pins(x509.get(), {"other", hash}, {}), "");
  EXPECT_EQ(check_pins(x509.get(), {}, {spki}), "");
  EXPECT_EQ(check_pins(x509.get(), {"other"}, {spki}), "");
  EXPECT_NE(check_pins(x509.get(), {"other"}, {}), "");
  EXPECT_NE(check_pins(x509.get(), {}, {"other"}), "");
  EXPECT_NE(check_pins(x509.get(), {spki}, {hash}), "") << "each in its own list";
  EXPECT_NE(check_pins(x509.get(), {hash.substr(0, 63)}, {}), "");
  EXPECT_NE(check_pins(certificate({{GEN_URI, "other"}}).get(), {hash}, {}), "")
      << "another certificate of the same key";
  EXPECT_EQ(check_pins(certificate({{GEN_URI, "other"}}).get(), {}, {spki}), "") << "the key is what is pinned";
}

std::string pem_of(X509* x509) {
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, x509);
  char* data;
  auto size = static_cast<size_t>(BIO_get_mem_data(bio, &data));
  std::string pem(data, size);
  BIO_free(bio);
  return pem;
}

TEST(ParseCertificatesTest, reads_all_of_a_chain_or_nothing) {
  std::string one = pem_of(certificate({{GEN_URI, "a"}}).get()), two = pem_of(certificate({{GEN_URI, "b"}}).get());
  auto both = parse_certificates(one + "a comment\n" + two);
  ASSERT_TRUE(both);
  ASSERT_EQ(both->size(), 2u);
  EXPECT_EQ(san_names((*both)[1].get()).uri, std::vector<std::string>{"b"});
  EXPECT_FALSE(parse_certificates(""));
  EXPECT_FALSE(parse_certificates("text"));
  EXPECT_FALSE(parse_certificates(one + two.substr(0, two.size() / 2))) << "a truncated second certificate";
  std::string broken = one;
  broken.replace(broken.size() / 2, 4, "!!!!");
  EXPECT_FALSE(parse_certificates(broken));
  EXPECT_TRUE(parse_certificates(one)) << "an earlier failure leaves nothing behind";
}

}  // namespace
}  // namespace pinnace::tls
