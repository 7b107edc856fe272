#include "xds_client/compile/tls.h"

#include <algorithm>

#include "envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer.pb.h"
#include "envoy/extensions/transport_sockets/tls/v3/tls.pb.h"
#include "xds_client/compile/common.h"
#include "xds_client/compile/config_source.h"

namespace pinnace::compile {
namespace {

namespace tls = envoy::extensions::transport_sockets::tls::v3;
namespace core = envoy::config::core::v3;

int version(tls::TlsParameters::TlsProtocol protocol) {
  switch (protocol) {  // the numbers of the protocol, RFC 8446 4.2.1, which OpenSSL uses
    case tls::TlsParameters::TLSv1_0: return 0x0301;
    case tls::TlsParameters::TLSv1_1: return 0x0302;
    case tls::TlsParameters::TLSv1_2: return 0x0303;
    case tls::TlsParameters::TLSv1_3: return 0x0304;
    default: return 0;
  }
}

Result<model::SecretRef> secret_ref(const tls::SdsSecretConfig& proto) {
  model::SecretRef ref;
  if (!proto.has_sds_config()) return error("sds_config: a static secret '" + proto.name() + "' is not supported yet");
  auto source = config_source(proto.sds_config());
  if (!source) return in("sds_config", source.error());
  ref.resource = {std::move(*source), proto.name()};
  ref.fetch_timeout_ms = fetch_timeout_ms(proto.sds_config());
  return ref;
}

Result<bool> validation(const tls::CertificateValidationContext& proto, model::TlsContextSpec& spec,
                        std::vector<model::SanMatcher>& sans) {
  auto known = only_fields(proto, {"trusted_ca", "match_subject_alt_names", "match_typed_subject_alt_names", "crl",
                                   "verify_certificate_hash", "verify_certificate_spki", "trust_chain_verification",
                                   "allow_expired_certificate"});
  if (!known) return known.error();
  if (proto.allow_expired_certificate()) return error("allow_expired_certificate: not supported by pinnace");
  if (proto.has_trusted_ca() || proto.has_crl()) {
    model::ValidationPem pem;
    if (proto.has_trusted_ca()) {
      auto ca = data_source(proto.trusted_ca());
      if (!ca) return in("trusted_ca", ca.error());
      pem.trusted_ca = std::move(*ca);
    }
    if (proto.has_crl()) {
      auto crl = data_source(proto.crl());
      if (!crl) return in("crl", crl.error());
      pem.crl = std::move(*crl);
    }
    spec.validation = std::move(pem);
  }
  for (const auto& hash : proto.verify_certificate_hash()) {
    std::string plain;
    for (char c : lower(hash)) {
      if (c != ':') plain += c;
    }
    spec.verify_certificate_hash.push_back(plain);
  }
  for (const auto& spki : proto.verify_certificate_spki()) spec.verify_certificate_spki.push_back(spki);
  spec.accept_untrusted = proto.trust_chain_verification() == tls::CertificateValidationContext::ACCEPT_UNTRUSTED;
  for (const auto& typed : proto.match_typed_subject_alt_names()) {
    model::SanMatcher san;
    switch (typed.san_type()) {
      case tls::SubjectAltNameMatcher::DNS: san.type = model::SanType::kDns; break;
      case tls::SubjectAltNameMatcher::URI: san.type = model::SanType::kUri; break;
      case tls::SubjectAltNameMatcher::EMAIL: san.type = model::SanType::kEmail; break;
      case tls::SubjectAltNameMatcher::IP_ADDRESS: san.type = model::SanType::kIp; break;
      default: return error("match_typed_subject_alt_names.san_type: not supported by pinnace");
    }
    auto matcher = string_matcher(typed.matcher());
    if (!matcher) return in("match_typed_subject_alt_names.matcher", matcher.error());
    san.matcher = std::move(*matcher);
    sans.push_back(std::move(san));
  }
  for (const auto& untyped : proto.match_subject_alt_names()) {
    auto matcher = string_matcher(untyped);
    if (!matcher) return in("match_subject_alt_names", matcher.error());
    sans.push_back({model::SanType::kAny, std::move(*matcher)});
  }
  return true;
}

Result<bool> common(const tls::CommonTlsContext& proto, model::TlsContextSpec& spec,
                    std::vector<model::SanMatcher>& sans, std::vector<std::string>& alpn) {
  auto known =
      only_fields(proto, {"tls_params", "tls_certificates", "tls_certificate_sds_secret_configs", "validation_context",
                          "validation_context_sds_secret_config", "combined_validation_context", "alpn_protocols"});
  if (!known) return known.error();
  const auto& params = proto.tls_params();
  auto known_params = only_fields(params, {"tls_minimum_protocol_version", "tls_maximum_protocol_version",
                                           "cipher_suites", "ecdh_curves", "signature_algorithms"});
  if (!known_params) return in("tls_params", known_params.error());
  spec.min_version = version(params.tls_minimum_protocol_version());
  spec.max_version = version(params.tls_maximum_protocol_version());
  auto join = [](const auto& list) {
    std::string out;
    for (const auto& one : list) out += (out.empty() ? "" : ":") + one;
    return out;
  };
  spec.ciphers = join(params.cipher_suites());
  spec.curves = join(params.ecdh_curves());
  spec.signature_algorithms = join(params.signature_algorithms());
  for (const auto& certificate : proto.tls_certificates()) {
    auto known_certificate = only_fields(certificate, {"certificate_chain", "private_key", "password", "ocsp_staple"});
    if (!known_certificate) return in("tls_certificates", known_certificate.error());
    auto chain = data_source(certificate.certificate_chain());
    if (!chain) return in("tls_certificates.certificate_chain", chain.error());
    auto key = data_source(certificate.private_key());
    if (!key) return in("tls_certificates.private_key", key.error());
    model::CertificatePem pem{std::move(*chain), std::move(*key), {}, {}};
    if (certificate.has_ocsp_staple()) {
      auto staple = data_source(certificate.ocsp_staple());
      if (!staple) return in("tls_certificates.ocsp_staple", staple.error());
      pem.ocsp_staple = std::move(*staple);
    }
    if (certificate.has_password()) {
      auto password = data_source(certificate.password());
      if (!password) return in("tls_certificates.password", password.error());
      pem.password = std::move(*password);
    }
    spec.certificates.push_back(std::move(pem));
  }
  for (const auto& secret : proto.tls_certificate_sds_secret_configs()) {
    auto ref = secret_ref(secret);
    if (!ref) return in("tls_certificate_sds_secret_configs", ref.error());
    spec.certificate_secrets.push_back(std::move(*ref));
  }
  if (proto.has_validation_context()) {
    auto done = validation(proto.validation_context(), spec, sans);
    if (!done) return in("validation_context", done.error());
  }
  const tls::SdsSecretConfig* secret = nullptr;
  if (proto.has_validation_context_sds_secret_config()) secret = &proto.validation_context_sds_secret_config();
  if (proto.has_combined_validation_context()) {
    const auto& combined = proto.combined_validation_context();
    secret = &combined.validation_context_sds_secret_config();
    auto done = validation(combined.default_validation_context(), spec, sans);
    if (!done) return in("combined_validation_context.default_validation_context", done.error());
  }
  if (secret) {
    auto ref = secret_ref(*secret);
    if (!ref) return in("validation_context_sds_secret_config", ref.error());
    spec.validation_secret = std::move(*ref);
  }
  // ENVOY: names are worth nothing where the chain is not verified; both are refused without what they lean on.
  if (!spec.validation_secret && (!spec.validation || spec.validation->trusted_ca.empty())) {
    if (!sans.empty()) return error("match_typed_subject_alt_names without trusted_ca would let anyone in");
    if (spec.validation && !spec.validation->crl.empty()) return error("crl without trusted_ca");
  }
  alpn.assign(proto.alpn_protocols().begin(), proto.alpn_protocols().end());
  for (const auto& name : alpn) {
    if (name.empty() || name.size() > 255) return error("alpn_protocols: '" + name + "' is not a protocol name");
  }
  return true;
}

}  // namespace

Result<std::optional<model::DownstreamTls>> downstream_transport(const core::TransportSocket& proto, Context& context) {
  using RawBuffer = envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
  if (proto.name().empty() || proto.typed_config().Is<RawBuffer>()) return std::optional<model::DownstreamTls>();
  tls::DownstreamTlsContext downstream;
  if (!proto.typed_config().UnpackTo(&downstream)) {
    return error("transport_socket '" + proto.name() + "' (" + proto.typed_config().type_url() +
                 "): not supported by pinnace");
  }
  auto known = only_fields(downstream,
                           {"common_tls_context", "require_client_certificate", "disable_stateless_session_resumption",
                            "disable_stateful_session_resumption", "session_timeout"});
  if (!known) return in("transport_socket", known.error());
  model::TlsContextSpec spec;
  spec.server = true;
  auto done = common(downstream.common_tls_context(), spec, spec.server_sans, spec.server_alpn);
  if (!done) return in("transport_socket.common_tls_context", done.error());
  spec.require_client_certificate = downstream.require_client_certificate().value();
  spec.session_tickets = !downstream.disable_stateless_session_resumption();
  if (downstream.has_session_timeout()) {
    uint64_t ms = milliseconds(downstream.session_timeout());
    if (ms > uint64_t{1000} * 3600 * 24 * 49) return error("transport_socket.session_timeout: more than 49 days");
    spec.session_timeout_s = std::max<uint64_t>(1, ms / 1000);
  }
  if (spec.certificates.empty() && spec.certificate_secrets.empty()) {
    return error("transport_socket.common_tls_context: a server needs a certificate");
  }
  auto id = context.tls.intern(spec);
  if (!id) return in("transport_socket.common_tls_context", id.error());
  return std::optional(model::DownstreamTls{*id, false});
}

Result<std::shared_ptr<const model::UpstreamTls>> upstream_transport(const core::TransportSocket& proto,
                                                                     Context& context) {
  using RawBuffer = envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
  if (proto.name().empty() || proto.typed_config().Is<RawBuffer>()) return std::shared_ptr<const model::UpstreamTls>();
  tls::UpstreamTlsContext upstream;
  if (!proto.typed_config().UnpackTo(&upstream)) {
    return error("transport_socket '" + proto.name() + "' (" + proto.typed_config().type_url() +
                 "): not supported by pinnace");
  }
  auto known = only_fields(
      upstream, {"common_tls_context", "sni", "auto_host_sni", "auto_sni_san_validation", "max_session_keys"});
  if (!known) return in("transport_socket", known.error());
  model::TlsContextSpec spec;
  auto compiled = std::make_shared<model::UpstreamTls>();
  auto done = common(upstream.common_tls_context(), spec, compiled->sans, compiled->alpn);
  if (!done) return in("transport_socket.common_tls_context", done.error());
  auto id = context.tls.intern(spec);
  if (!id) return in("transport_socket.common_tls_context", id.error());
  compiled->context_id = *id;
  compiled->sni = upstream.sni();
  compiled->auto_sni = upstream.auto_host_sni();
  compiled->auto_san_validation = upstream.auto_sni_san_validation();
  if (upstream.has_max_session_keys()) compiled->max_session_keys = upstream.max_session_keys().value();
  compiled->session_key = content_hash(upstream);
  return std::shared_ptr<const model::UpstreamTls>(std::move(compiled));
}

}  // namespace pinnace::compile
