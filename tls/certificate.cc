#include "tls/certificate.h"

#include <arpa/inet.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstring>
#include <limits>

namespace pinnace::tls {
namespace {

struct BioFree {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using BioPtr = std::unique_ptr<BIO, BioFree>;

std::string contents(BIO* bio) {
  char* data = nullptr;
  long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<size_t>(size)};
}

int64_t seconds(const ASN1_TIME* time) {
  tm utc{};
  if (!time || ASN1_TIME_to_tm(time, &utc) != 1) return 0;
  return timegm(&utc);
}

std::string hex(const unsigned char* data, size_t size) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (size_t i = 0; i < size; i++) {
    out += kHex[data[i] >> 4];
    out += kHex[data[i] & 15];
  }
  return out;
}

}  // namespace

SanNames san_names(X509* certificate) {
  SanNames names;
  auto* list = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  if (!list) return names;
  for (int i = 0; i < sk_GENERAL_NAME_num(list); i++) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(list, i);
    auto text = [](const ASN1_STRING* s) {
      return std::string(reinterpret_cast<const char*>(ASN1_STRING_get0_data(s)),
                         static_cast<size_t>(ASN1_STRING_length(s)));
    };
    auto add = [](std::vector<std::string>& to, std::string value) {
      if (value.find('\0') == std::string::npos) to.push_back(std::move(value));
    };
    if (name->type == GEN_URI) add(names.uri, text(name->d.uniformResourceIdentifier));
    if (name->type == GEN_DNS) add(names.dns, text(name->d.dNSName));
    if (name->type == GEN_EMAIL) add(names.email, text(name->d.rfc822Name));
    if (name->type == GEN_IPADD) {
      char buffer[INET6_ADDRSTRLEN];
      int size = ASN1_STRING_length(name->d.iPAddress);
      int family = size == 4 ? AF_INET : AF_INET6;
      if ((size == 4 || size == 16) &&
          inet_ntop(family, ASN1_STRING_get0_data(name->d.iPAddress), buffer, sizeof buffer)) {
        names.ip.emplace_back(buffer);
      }
    }
  }
  GENERAL_NAMES_free(list);
  return names;
}

Result<std::vector<X509Ptr>> parse_certificates(const std::string& pem) {
  std::vector<X509Ptr> out;
  BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  ERR_clear_error();
  while (X509* certificate = PEM_read_bio_X509_AUX(bio.get(), nullptr, nullptr, nullptr)) out.emplace_back(certificate);
  unsigned long last = ERR_peek_last_error();
  bool at_end = ERR_GET_LIB(last) == ERR_LIB_PEM && ERR_GET_REASON(last) == PEM_R_NO_START_LINE;
  if (out.empty() || !at_end) return error("not a PEM certificate: " + openssl_errors());
  ERR_clear_error();
  return out;
}

CertificateFacts facts_of(X509* certificate) {
  CertificateFacts facts;
  facts.path = "<inline>";
  BIGNUM* serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr);
  if (serial) {
    char* text = BN_bn2hex(serial);
    if (text) {
      for (char* c = text; *c; c++) facts.serial += static_cast<char>(std::tolower(static_cast<unsigned char>(*c)));
      OPENSSL_free(text);
    }
    BN_free(serial);
  }
  SanNames names = san_names(certificate);
  facts.uri_sans = std::move(names.uri);
  facts.dns_sans = std::move(names.dns);
  facts.ip_sans = std::move(names.ip);
  facts.valid_from = seconds(X509_get0_notBefore(certificate));
  facts.valid_until = seconds(X509_get0_notAfter(certificate));
  return facts;
}

std::string subject_of(X509* certificate) {
  BioPtr bio(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(bio.get(), X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
  return contents(bio.get());
}

std::string sha256_of(X509* certificate) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  X509_digest(certificate, EVP_sha256(), digest, &size);
  return hex(digest, size);
}

std::string spki_sha256_base64(X509* certificate) {
  unsigned char* der = nullptr;
  int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
  if (size <= 0) return {};
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned digest_size = 0;
  EVP_Digest(der, static_cast<size_t>(size), digest, &digest_size, EVP_sha256(), nullptr);
  OPENSSL_free(der);
  unsigned char text[2 * EVP_MAX_MD_SIZE];
  int n = EVP_EncodeBlock(text, digest, static_cast<int>(digest_size));
  return {reinterpret_cast<char*>(text), static_cast<size_t>(n)};
}

std::string url_encoded_pem(X509* certificate) {
  BioPtr bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(bio.get(), certificate);
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (char c : contents(bio.get())) {
    if (std::isalnum(static_cast<unsigned char>(c)) || std::strchr("-_.", c)) {
      out += c;
    } else {
      out += '%';
      out += kHex[static_cast<unsigned char>(c) >> 4];
      out += kHex[static_cast<unsigned char>(c) & 15];
    }
  }
  return out;
}

Result<int64_t> staple_valid_until(const std::string& der) {
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  std::unique_ptr<OCSP_RESPONSE, decltype(&OCSP_RESPONSE_free)> response(
      d2i_OCSP_RESPONSE(nullptr, &at, static_cast<long>(der.size())), &OCSP_RESPONSE_free);
  if (!response || OCSP_response_status(response.get()) != OCSP_RESPONSE_STATUS_SUCCESSFUL) {
    ERR_clear_error();
    return error("ocsp_staple: not a successful OCSP response");
  }
  std::unique_ptr<OCSP_BASICRESP, decltype(&OCSP_BASICRESP_free)> basic(OCSP_response_get1_basic(response.get()),
                                                                        &OCSP_BASICRESP_free);
  if (!basic || OCSP_resp_count(basic.get()) == 0) return error("ocsp_staple: it says nothing of any certificate");
  ASN1_GENERALIZEDTIME* next = nullptr;
  OCSP_single_get0_status(OCSP_resp_get0(basic.get(), 0), nullptr, nullptr, nullptr, &next);
  if (!next) return std::numeric_limits<int64_t>::max();
  tm utc{};
  if (ASN1_TIME_to_tm(next, &utc) != 1) return error("ocsp_staple: a bad nextUpdate");
  return static_cast<int64_t>(timegm(&utc));
}

std::string openssl_errors() {
  std::string out;
  while (unsigned long code = ERR_get_error()) {
    char text[256];
    ERR_error_string_n(code, text, sizeof text);
    if (!out.empty()) out += "|";
    out += text;
  }
  return out.empty() ? "unknown error" : out;
}

}  // namespace pinnace::tls
