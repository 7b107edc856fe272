#include "xds_client/compile/context.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>

#include "tls/context.h"
#include "xds_client/compile/struct.h"

namespace pinnace::compile {

Result<uint32_t> TlsRegistry::intern(const model::TlsContextSpec& spec) {
  {
    std::lock_guard lock(mutex_);
    for (uint32_t id = 0; id < specs_.size(); id++) {
      if (*specs_[id] == spec) return id;
    }
  }
  // Tried before it is accepted: what serves now must not give way to what cannot.
  if (spec.certificate_secrets.empty() && !spec.validation_secret) {
    tls::ResolvedSecrets inline_ones;
    inline_ones.certificates = spec.certificates;
    inline_ones.has_validation = spec.validation.has_value();
    if (spec.validation) inline_ones.validation = *spec.validation;
    auto made = tls::Context::make(spec, inline_ones);
    if (!made) return made.error();
  } else {
    // What is wrong with the parameters must not become the fault of a secret that others use too.
    auto sound = tls::check_parameters(spec);
    if (!sound) return sound.error();
  }
  std::lock_guard lock(mutex_);  // the compile thread is the only one that adds
  specs_.push_back(std::make_unique<model::TlsContextSpec>(spec));
  return static_cast<uint32_t>(specs_.size() - 1);
}

Result<bool> only_fields(const google::protobuf::Message& message, std::initializer_list<const char*> known) {
  std::vector<const google::protobuf::FieldDescriptor*> set;
  message.GetReflection()->ListFields(message, &set);
  for (const auto* field : set) {
    bool found = std::any_of(known.begin(), known.end(), [&](const char* name) { return field->name() == name; });
    if (!found) return error(field->name() + ": not supported by pinnace");
  }
  return true;
}

uint64_t content_hash(const google::protobuf::Message& message) {
  uint64_t hash = 0xcbf29ce484222325ull;  // FNV-1a
  for (unsigned char c : serialize(message)) hash = (hash ^ c) * 0x100000001b3ull;
  return hash;
}

}  // namespace pinnace::compile
