// SecretStore: what a pod may be told. Its own identity ("default") and the mesh root ("ROOTCA"), and credentials that
// operators keep as files below one directory ("file-cert:", "file-root:", "kubernetes://"). Nothing outside it is
// read. THREAD: one at a time (the distributor's lock). ERRORS: an unknown or unreadable secret is nullopt: no answer
// is given.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "translator/distribute/ca.h"
#include "translator/translate/translate.h"

namespace pinnace::translator {

// Who asks. Two pods of one service account have one identity, but each its own key.
struct Asker {
  std::string pod, spiffe_id;
};

class SecretStore {
 public:
  SecretStore(const CertificateAuthority& ca, std::string credentials_directory, std::chrono::seconds ttl)
      : ca_(ca), credentials_(std::move(credentials_directory)), ttl_(ttl) {}

  std::optional<Resource> find(const Asker& asker, const std::string& name);

  // Drops identities past 80% of their life (jittered), so that the next find() makes new ones.
  // Returns true when one was dropped.
  bool expire(WallTime now);
  // True when a credential file that was asked for has changed, come or gone since. Looks at modification times only.
  bool files_changed();

 private:
  struct Held {
    Resource resource;
    WallTime renew;
  };
  std::optional<Resource> identity(const Asker& asker);
  std::optional<std::string> credential(std::string_view path);
  std::optional<std::string> read_once(const std::string& path);

  const CertificateAuthority& ca_;
  std::string credentials_;
  std::chrono::seconds ttl_;
  struct File {
    std::string stamp;  // of its state when it was read; empty when it was not there
    std::optional<std::string> text;
  };
  std::map<std::string, Held> identities_;  // by pod and SPIFFE id
  std::map<std::string, File> files_;       // by path
};

}  // namespace pinnace::translator
