#include "translator/distribute/secret_store.h"

#include <fmt/format.h>
#include <openssl/rand.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "envoy/extensions/transport_sockets/tls/v3/secret.pb.h"
#include "proxy/base/log.h"
#include "translator/translate/proto.h"

namespace pinnace::translator {
namespace fs = std::filesystem;
namespace {

using Secret = envoy::extensions::transport_sockets::tls::v3::Secret;

constexpr char kSystemRoots[] = "/etc/ssl/certs/ca-certificates.crt";

std::optional<std::string> read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  std::ostringstream text;
  text << in.rdbuf();
  if (text.str().empty()) return std::nullopt;
  return text.str();
}

// Changes whenever the file does; empty when there is none.
std::string stamp_of(const std::string& path) {
  struct stat now {};
  if (stat(path.c_str(), &now) != 0 || !S_ISREG(now.st_mode)) return "";
  return fmt::format("{}.{}.{}.{}", now.st_ino, now.st_size, now.st_mtim.tv_sec, now.st_mtim.tv_nsec);
}

Resource certificate(const std::string& name, const std::string& chain, const std::string& key) {
  Secret secret;
  secret.set_name(name);
  secret.mutable_tls_certificate()->mutable_certificate_chain()->set_inline_bytes(chain);
  secret.mutable_tls_certificate()->mutable_private_key()->set_inline_bytes(key);
  return make_resource(serialize(secret));
}

Resource root(const std::string& name, const std::string& pem) {
  Secret secret;
  secret.set_name(name);
  secret.mutable_validation_context()->mutable_trusted_ca()->set_inline_bytes(pem);
  return make_resource(serialize(secret));
}

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

}  // namespace

std::optional<Resource> SecretStore::find(const Asker& asker, const std::string& name) {
  std::string_view rest = name;
  if (rest == "default") return identity(asker);
  if (rest == "ROOTCA") return root(name, ca_.root_pem());
  if (rest == "file-root:system") {
    auto pem = read_once(kSystemRoots);
    return pem ? std::optional(root(name, *pem)) : std::nullopt;
  }
  if (take_prefix(rest, "file-root:")) {
    auto pem = credential(rest);
    return pem ? std::optional(root(name, *pem)) : std::nullopt;
  }
  if (take_prefix(rest, "file-cert:")) {
    size_t tilde = rest.find('~');
    if (tilde == std::string_view::npos) return std::nullopt;
    auto chain = credential(rest.substr(0, tilde)), key = credential(rest.substr(tilde + 1));
    return chain && key ? std::optional(certificate(name, *chain, *key)) : std::nullopt;
  }
  if (take_prefix(rest, "kubernetes://")) {
    std::string folder(rest);
    if (!folder.ends_with("-cacert")) {
      auto chain = credential(folder + "/tls.crt"), key = credential(folder + "/tls.key");
      return chain && key ? std::optional(certificate(name, *chain, *key)) : std::nullopt;
    }
    // Either a secret of its own by that name, or the root beside the certificate.
    auto pem = credential(folder + "/ca.crt");
    if (!pem) pem = credential(folder.substr(0, folder.size() - 7) + "/ca.crt");
    return pem ? std::optional(root(name, *pem)) : std::nullopt;
  }
  return std::nullopt;
}

std::optional<Resource> SecretStore::identity(const Asker& asker) {
  auto key = asker.pod + "|" + asker.spiffe_id;
  auto held = identities_.find(key);
  if (held != identities_.end()) return held->second.resource;
  auto made = ca_.issue(asker.spiffe_id, ttl_);
  if (!made) {
    PN_LOG(kError, "ca", "{}", made.error().message);
    return std::nullopt;
  }
  // Between 75% and 85%, so that identities issued together do not all come back together.
  unsigned char random = 0;
  RAND_bytes(&random, 1);
  double share = 0.75 + 0.10 * random / 255.0;
  auto life = std::chrono::duration_cast<std::chrono::system_clock::duration>(ttl_ * share);
  Held fresh{certificate("default", made->certificate_chain, made->private_key), made->issued + life};
  PN_LOG(kInfo, "ca", "issued {} to {} for {} s", asker.spiffe_id, asker.pod, ttl_.count());
  return identities_.emplace(key, std::move(fresh)).first->second.resource;
}

std::optional<std::string> SecretStore::credential(std::string_view path) {
  if (credentials_.empty()) return std::nullopt;
  while (path.starts_with('/')) path.remove_prefix(1);
  std::error_code failed;
  auto base = fs::weakly_canonical(credentials_, failed);
  if (failed) return std::nullopt;
  for (auto& part : fs::path(path))
    if (part == "..") return std::nullopt;
  // Links are followed first: the file itself must lie below the directory.
  auto full = fs::weakly_canonical(base / fs::path(path), failed);
  if (failed) return std::nullopt;
  auto [end, differs] = std::mismatch(base.begin(), base.end(), full.begin(), full.end());
  if (end != base.end()) return std::nullopt;
  return read_once(full.string());
}

bool SecretStore::expire(WallTime now) {
  return std::erase_if(identities_, [&](auto& entry) { return entry.second.renew <= now; }) > 0;
}

std::optional<std::string> SecretStore::read_once(const std::string& path) {
  auto stamp = stamp_of(path);
  auto& file = files_[path];
  if (stamp.empty()) file = {"", std::nullopt};
  else if (file.stamp != stamp) file = {stamp, read_file(path)};
  return file.text;
}

bool SecretStore::files_changed() {
  // Forgotten, so that each change is told once; whoever still wants the file reads it anew.
  return std::erase_if(files_, [](auto& entry) { return entry.second.stamp != stamp_of(entry.first); }) > 0;
}

}  // namespace pinnace::translator
