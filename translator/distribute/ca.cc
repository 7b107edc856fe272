#include "translator/distribute/ca.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace pinnace::translator {
namespace fs = std::filesystem;
namespace {

struct FreeKey {
  void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
};
struct FreeCertificate {
  void operator()(X509* p) const { X509_free(p); }
};
struct FreeBio {
  void operator()(BIO* p) const { BIO_free(p); }
};
using Key = std::unique_ptr<EVP_PKEY, FreeKey>;
using Certificate = std::unique_ptr<X509, FreeCertificate>;
using Bio = std::unique_ptr<BIO, FreeBio>;

constexpr std::chrono::seconds kRootTtl = std::chrono::hours(24 * 3650);
constexpr std::chrono::seconds kClockSkew = std::chrono::minutes(2);

std::string openssl_reason() {
  char text[256] = "unknown";
  if (auto code = ERR_get_error()) ERR_error_string_n(code, text, sizeof text);
  ERR_clear_error();
  return text;
}

template <class Write>
std::string to_pem(Write write) {
  Bio bio(BIO_new(BIO_s_mem()));
  write(bio.get());
  char* data = nullptr;
  long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

std::string pem_of(X509* certificate) {
  return to_pem([&](BIO* bio) { PEM_write_bio_X509(bio, certificate); });
}

std::string pem_of(EVP_PKEY* key) {
  return to_pem([&](BIO* bio) { PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr); });
}

bool add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  auto* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  if (!extension) return false;
  bool added = X509_add_ext(certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return added;
}

Certificate new_certificate(EVP_PKEY* key, WallTime now, std::chrono::seconds ttl) {
  Certificate out(X509_new());
  X509_set_version(out.get(), 2);
  unsigned char serial[16];
  RAND_bytes(serial, sizeof serial);
  serial[0] &= 0x7f;
  auto* number = BN_bin2bn(serial, sizeof serial, nullptr);
  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(out.get()));
  BN_free(number);
  auto seconds = std::chrono::system_clock::to_time_t(now);
  // A peer's clock may be a little behind ours.
  ASN1_TIME_set(X509_getm_notBefore(out.get()), seconds - kClockSkew.count());
  ASN1_TIME_set(X509_getm_notAfter(out.get()), seconds + ttl.count());
  X509_set_pubkey(out.get(), key);
  return out;
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// Written beside and renamed over, so that a crash leaves no half of it.
Result<void> write_file(const std::string& path, const std::string& text, mode_t mode) {
  auto temporary = path + ".new";
  unlink(temporary.c_str());
  int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (fd < 0) return error(fmt::format("{}: {}", temporary, std::strerror(errno)));
  bool written = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  written = fchmod(fd, mode) == 0 && written;
  written = close(fd) == 0 && written;
  if (!written || rename(temporary.c_str(), path.c_str()) != 0)
    return error(fmt::format("{}: {}", path, std::strerror(errno)));
  return {};
}

Result<std::pair<Key, Certificate>> make_root(const std::string& trust_domain) {
  Key key(EVP_EC_gen("P-256"));
  if (!key) return error("making the root key: " + openssl_reason());
  auto root = new_certificate(key.get(), std::chrono::system_clock::now(), kRootTtl);
  auto* name = X509_get_subject_name(root.get());
  X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(trust_domain.c_str()), -1,
                             -1, 0);
  X509_set_issuer_name(root.get(), name);
  bool good = add_extension(root.get(), root.get(), NID_basic_constraints, "critical,CA:TRUE") &&
              add_extension(root.get(), root.get(), NID_key_usage, "critical,keyCertSign,cRLSign") &&
              add_extension(root.get(), root.get(), NID_subject_key_identifier, "hash") &&
              X509_sign(root.get(), key.get(), EVP_sha256()) > 0;
  if (!good) return error("making the root certificate: " + openssl_reason());
  return std::pair{std::move(key), std::move(root)};
}

}  // namespace

Result<std::unique_ptr<CertificateAuthority>> CertificateAuthority::open(const std::string& directory,
                                                                         const std::string& trust_domain) {
  auto certificate_path = directory + "/root-cert.pem", key_path = directory + "/root-key.pem";
  std::error_code failed;
  fs::create_directories(directory, failed);
  if (failed) return error(fmt::format("{}: {}", directory, failed.message()));
  bool have_certificate = fs::exists(certificate_path), have_key = fs::exists(key_path);
  if (have_certificate != have_key)
    return error(fmt::format("{}: one of root-cert.pem and root-key.pem is missing", directory));
  if (!have_key) {
    auto made = make_root(trust_domain);
    if (!made) return made.error();
    auto wrote = write_file(key_path, pem_of(made->first.get()), 0600);
    if (wrote) wrote = write_file(certificate_path, pem_of(made->second.get()), 0644);
    if (!wrote) return wrote.error();
  }
  auto out = std::make_unique<CertificateAuthority>();
  auto key_pem = read_file(key_path);
  out->root_pem_ = read_file(certificate_path);
  Bio key_bio(BIO_new_mem_buf(key_pem.data(), static_cast<int>(key_pem.size())));
  Bio certificate_bio(BIO_new_mem_buf(out->root_pem_.data(), static_cast<int>(out->root_pem_.size())));
  out->key_.reset(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, nullptr, nullptr));
  if (!out->key_) return error(fmt::format("{}: {}", key_path, openssl_reason()));
  out->certificate_.reset(PEM_read_bio_X509(certificate_bio.get(), nullptr, nullptr, nullptr));
  if (!out->certificate_) return error(fmt::format("{}: {}", certificate_path, openssl_reason()));
  if (X509_check_private_key(out->certificate_.get(), out->key_.get()) != 1)
    return error(fmt::format("{}: key and certificate do not belong together", directory));
  return out;
}

Result<Identity> CertificateAuthority::issue(const std::string& uri, std::chrono::seconds ttl) const {
  Key key(EVP_EC_gen("P-256"));
  if (!key) return error("making a key: " + openssl_reason());
  Identity out;
  out.issued = std::chrono::system_clock::now();
  out.expires = out.issued + ttl;
  auto leaf = new_certificate(key.get(), out.issued, ttl);
  X509_set_issuer_name(leaf.get(), X509_get_subject_name(certificate_.get()));
  // RFC 5280 4.2.1.6: with an empty subject the alternative name is critical.
  bool good =
      add_extension(leaf.get(), certificate_.get(), NID_basic_constraints, "critical,CA:FALSE") &&
      add_extension(leaf.get(), certificate_.get(), NID_key_usage, "critical,digitalSignature,keyEncipherment") &&
      add_extension(leaf.get(), certificate_.get(), NID_ext_key_usage, "serverAuth,clientAuth") &&
      add_extension(leaf.get(), certificate_.get(), NID_authority_key_identifier, "keyid") &&
      add_extension(leaf.get(), certificate_.get(), NID_subject_alt_name, "critical,URI:" + uri) &&
      X509_sign(leaf.get(), key_.get(), EVP_sha256()) > 0;
  if (!good) return error(fmt::format("signing {}: {}", uri, openssl_reason()));
  out.certificate_chain = pem_of(leaf.get());
  out.private_key = pem_of(key.get());
  return out;
}

}  // namespace pinnace::translator
