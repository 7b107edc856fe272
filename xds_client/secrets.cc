#include "xds_client/secrets.h"

#include <algorithm>

#include "proxy/base/log.h"
#include "xds_client/compile/common.h"

namespace pinnace::xds {

namespace tls_pb = envoy::extensions::transport_sockets::tls::v3;

std::string Secrets::apply(const model::ConfigSource& source, const Batch& batch, int64_t now_s) {
  std::string problems;
  for (const auto& resource : batch.resources) {
    tls_pb::Secret secret;
    if (!resource.body.UnpackTo(&secret)) {
      if (resource.name.empty()) give_up_all();
      else refuse({source, resource.name});
      return "a resource that is no Secret";
    }
    Key changed{source, secret.name()};
    // A bad secret must not take the place of a good one: try it before keeping it.
    std::string wrong = fault(changed, secret);
    if (!wrong.empty()) {
      problems += (problems.empty() ? "" : "; ") + secret.name() + ": " + wrong;
      refuse(changed);
      continue;
    }
    Entry before = entries_[changed];
    entries_[changed] = {secret, resource.version, now_s, true};
    for (uint32_t id : used_) {
      const auto& spec = registry_.spec(id);
      tls::ResolvedSecrets resolved;
      std::string missing;
      if (!uses(id, changed) || !resolve(spec, resolved, missing)) continue;
      auto made = tls::Context::make(spec, resolved);
      if (!made) wrong = made.error().message;
    }
    if (!wrong.empty()) {
      problems += (problems.empty() ? "" : "; ") + secret.name() + ": " + wrong;
      if (before.delivered) entries_[changed] = before;
      else entries_.erase(changed);
      refuse(changed);
      continue;
    }
    mark_stale(changed);
  }
  return problems;
}

std::string Secrets::fault(const Key& key, const tls_pb::Secret& secret) const {
  auto known = compile::only_fields(secret, {"name", "tls_certificate", "validation_context"});
  if (known && secret.has_tls_certificate()) {
    known =
        compile::only_fields(secret.tls_certificate(), {"certificate_chain", "private_key", "password", "ocsp_staple"});
  }
  if (known && secret.has_validation_context()) {
    known = compile::only_fields(secret.validation_context(), {"trusted_ca", "crl"});
  }
  if (!known) return known.error().message;
  for (uint32_t id : used_) {
    const auto& spec = registry_.spec(id);
    bool certificate = std::any_of(spec.certificate_secrets.begin(), spec.certificate_secrets.end(),
                                   [&](const auto& ref) { return ref.resource == key; });
    if (certificate && !secret.has_tls_certificate()) return "no tls_certificate, which is what is wanted by that name";
    bool validation = spec.validation_secret && spec.validation_secret->resource == key;
    if (validation && !secret.has_validation_context()) {
      return "no validation_context, which is what is wanted by that name";
    }
  }
  return {};
}

void Secrets::set_used(std::set<uint32_t> ids) {
  for (uint32_t id : used_) {
    if (ids.contains(id) || id >= states_.size()) continue;
    states_[id] = {};  // made again should it come back
    contexts_[id] = nullptr;
  }
  used_ = std::move(ids);
  auto names = wanted();
  std::erase_if(entries_, [&](const auto& entry) { return !names.contains(entry.first); });
}

bool Secrets::uses(uint32_t id, const Key& key) const {
  const auto& spec = registry_.spec(id);
  return (spec.validation_secret && spec.validation_secret->resource == key) ||
         std::any_of(spec.certificate_secrets.begin(), spec.certificate_secrets.end(),
                     [&](const auto& ref) { return ref.resource == key; });
}

void Secrets::mark_stale(const Key& changed) {
  for (uint32_t id = 0; id < states_.size(); id++) states_[id].stale = states_[id].stale || uses(id, changed);
}

// ENVOY: a first secret that is refused ends the wait for it: its own chain or cluster fails its handshakes, the rest
// goes live.
void Secrets::refuse(const Key& key) {
  for (uint32_t id = 0; id < states_.size(); id++) {
    if (!states_[id].made && uses(id, key)) states_[id].given_up = true;
  }
}

void Secrets::give_up_all() {
  for (auto& state : states_) state.given_up = state.given_up || !state.made;
}

bool Secrets::resolve(const model::TlsContextSpec& spec, tls::ResolvedSecrets& out, std::string& missing) const {
  out.certificates = spec.certificates;
  auto text = [](const envoy::config::core::v3::DataSource& source) {
    auto data = compile::data_source(source);
    return data ? *data : std::string();
  };
  for (const auto& ref : spec.certificate_secrets) {
    auto found = entries_.find(ref.resource);
    if (found == entries_.end() || !found->second.secret.has_tls_certificate()) {
      missing = ref.resource.name;
      return false;
    }
    const auto& certificate = found->second.secret.tls_certificate();
    out.certificates.push_back({text(certificate.certificate_chain()), text(certificate.private_key()),
                                text(certificate.password()), text(certificate.ocsp_staple())});
  }
  if (spec.validation) {
    out.validation = *spec.validation;
    out.has_validation = true;
  }
  if (spec.validation_secret) {
    auto found = entries_.find(spec.validation_secret->resource);
    if (found == entries_.end() || !found->second.secret.has_validation_context()) {
      missing = spec.validation_secret->resource.name;
      return false;
    }
    const auto& validation = found->second.secret.validation_context();
    // The secret is merged over the default_validation_context (CombinedCertificateValidationContext).
    if (validation.has_trusted_ca()) out.validation.trusted_ca = text(validation.trusted_ca());
    if (validation.has_crl()) out.validation.crl = text(validation.crl());
    out.has_validation = true;
  }
  return true;
}

void Secrets::settle(model::Update& update) {
  states_.resize(registry_.size());
  contexts_.resize(registry_.size());
  for (uint32_t id : used_) {
    State& state = states_[id];
    if (!state.stale) continue;
    const auto& spec = registry_.spec(id);
    if (!std::exchange(state.seen, true)) {
      uint64_t limit = 0;
      for (const auto& ref : spec.certificate_secrets) limit = std::max(limit, ref.fetch_timeout_ms);
      if (spec.validation_secret) limit = std::max(limit, spec.validation_secret->fetch_timeout_ms);
      if (limit > 0) deadlines_.emplace_back(id, limit);
    }
    tls::ResolvedSecrets resolved;
    std::string missing;
    if (!resolve(spec, resolved, missing)) continue;
    auto made = tls::Context::make(spec, resolved);
    state.stale = false;
    if (!made) {
      if (state.failure != made.error().message) {
        PN_LOG(kError, "tls", "TLS settings cannot be used, so handshakes with them fail: {}", made.error().message);
      }
      state.failure = made.error().message;
      state.given_up = true;
      continue;
    }
    state.made = true;
    contexts_[id] = *made;
    update.tls.push_back({id, std::move(*made)});
  }
}

std::set<Secrets::Key> Secrets::wanted() const {
  std::set<Key> out;
  for (uint32_t id : used_) {
    const auto& spec = registry_.spec(id);
    for (const auto& ref : spec.certificate_secrets) out.insert(ref.resource);
    if (spec.validation_secret) out.insert(spec.validation_secret->resource);
  }
  return out;
}

std::vector<std::pair<uint32_t, uint64_t>> Secrets::take_deadlines() { return std::exchange(deadlines_, {}); }

bool Secrets::give_up(uint32_t id) {
  if (id >= states_.size() || states_[id].made || states_[id].given_up) return false;
  tls::ResolvedSecrets resolved;
  std::string missing;
  if (resolve(registry_.spec(id), resolved, missing)) return false;
  states_[id].given_up = true;
  PN_LOG(kWarning, "tls",
         "secret {} has not come in time; what needs it goes live and its handshakes fail until it does", missing);
  return true;
}

}  // namespace pinnace::xds
