#include "translator/distribute/secret_store.h"

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "envoy/extensions/transport_sockets/tls/v3/secret.pb.h"

namespace pinnace::translator {
namespace {

namespace fs = std::filesystem;
using Secret = envoy::extensions::transport_sockets::tls::v3::Secret;

class SecretStoreTest : public testing::Test {
 protected:
  SecretStoreTest() {
    directory = fs::path(testing::TempDir()) / ("secrets-" + std::to_string(getpid()));
    fs::create_directories(directory / "credentials/etc/certs");
    ca = *CertificateAuthority::open((directory / "ca").string(), "cluster.local");
    store = std::make_unique<SecretStore>(*ca, (directory / "credentials").string(), std::chrono::seconds(100));
  }
  ~SecretStoreTest() override { fs::remove_all(directory); }
  void write(const std::string& path, const std::string& text) {
    fs::create_directories((directory / path).parent_path());
    std::ofstream(directory / path) << text;
  }
  Secret find(const std::string& name) {
    Secret out;
    if (auto found = store->find({"a-0.default", "spiffe://cluster.local/ns/default/sa/a"}, name))
      out.ParseFromString(found->bytes);
    return out;
  }

  fs::path directory;
  std::unique_ptr<CertificateAuthority> ca;
  std::unique_ptr<SecretStore> store;
};

X509* parse(const std::string& pem) {
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  X509* out = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  return out;
}

TEST_F(SecretStoreTest, identity_is_signed_by_the_root_and_names_the_account) {
  auto identity = find("default");
  X509* leaf = parse(identity.tls_certificate().certificate_chain().inline_bytes());
  X509* root = parse(find("ROOTCA").validation_context().trusted_ca().inline_bytes());
  ASSERT_TRUE(leaf && root);
  EXPECT_EQ(X509_verify(leaf, X509_get0_pubkey(root)), 1);
  int critical = 0;
  auto* names = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(leaf, NID_subject_alt_name, &critical, nullptr));
  ASSERT_EQ(sk_GENERAL_NAME_num(names), 1);
  auto* uri = sk_GENERAL_NAME_value(names, 0)->d.uniformResourceIdentifier;
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                        static_cast<size_t>(ASN1_STRING_length(uri))),
            "spiffe://cluster.local/ns/default/sa/a");
  EXPECT_EQ(critical, 1);
  EXPECT_EQ(X509_get_extended_key_usage(leaf), static_cast<uint32_t>(XKU_SSL_SERVER | XKU_SSL_CLIENT));
  GENERAL_NAMES_free(names);
  X509_free(leaf);
  X509_free(root);
}

TEST_F(SecretStoreTest, identity_is_kept_and_renewed_before_it_ends) {
  auto first = find("default").SerializeAsString();
  EXPECT_EQ(find("default").SerializeAsString(), first);
  auto now = std::chrono::system_clock::now();
  auto other = store->find({"a-1.default", "spiffe://cluster.local/ns/default/sa/a"}, "default");
  EXPECT_NE(other->bytes, first) << "each pod its own key";
  EXPECT_FALSE(store->expire(now + std::chrono::seconds(74)));
  EXPECT_TRUE(store->expire(now + std::chrono::seconds(86)));
  EXPECT_NE(find("default").SerializeAsString(), first);
}

TEST_F(SecretStoreTest, root_survives_a_restart_with_its_key_private) {
  auto root = ca->root_pem();
  auto again = CertificateAuthority::open((directory / "ca").string(), "cluster.local");
  ASSERT_TRUE(again);
  EXPECT_EQ((*again)->root_pem(), root);
  struct stat key {};
  ASSERT_EQ(stat((directory / "ca/root-key.pem").c_str(), &key), 0);
  EXPECT_EQ(key.st_mode & 0777, 0600u);
  fs::remove(directory / "ca/root-key.pem");
  EXPECT_FALSE(CertificateAuthority::open((directory / "ca").string(), "cluster.local"));
}

TEST_F(SecretStoreTest, credentials_come_from_their_directory_only) {
  write("credentials/etc/certs/a.crt", "CERT");
  write("credentials/etc/certs/a.key", "KEY");
  write("credentials/web/tls.crt", "WEB");
  write("credentials/web/tls.key", "WEBKEY");
  write("credentials/web/ca.crt", "WEBCA");
  write("secret.pem", "PRIVATE");
  EXPECT_EQ(find("file-cert:/etc/certs/a.crt~/etc/certs/a.key").tls_certificate().private_key().inline_bytes(), "KEY");
  EXPECT_EQ(find("kubernetes://web").tls_certificate().certificate_chain().inline_bytes(), "WEB");
  EXPECT_EQ(find("kubernetes://web-cacert").validation_context().trusted_ca().inline_bytes(), "WEBCA");
  for (auto name :
       {"file-root:../secret.pem", "file-root:/etc/../../secret.pem", "kubernetes://../ca", "file-root:/none"})
    EXPECT_FALSE(store->find({"x", "spiffe://x"}, name)) << name;
  fs::create_symlink(directory / "secret.pem", directory / "credentials/link.pem");
  EXPECT_FALSE(store->find({"x", "spiffe://x"}, "file-root:/link.pem"));
}

TEST_F(SecretStoreTest, notices_that_a_missing_file_came) {
  EXPECT_FALSE(store->find({"x", "spiffe://x"}, "file-root:/late.pem"));
  EXPECT_FALSE(store->files_changed());
  write("credentials/late.pem", "LATE");
  EXPECT_TRUE(store->files_changed());
  EXPECT_EQ(find("file-root:/late.pem").validation_context().trusted_ca().inline_bytes(), "LATE");
  EXPECT_FALSE(store->files_changed());
}

}  // namespace
}  // namespace pinnace::translator
