#include "translator/translate/tls_contexts.h"

#include <fmt/format.h>

#include "envoy/extensions/transport_sockets/tls/v3/tls.pb.h"
#include "translator/translate/proto.h"

namespace pinnace::translator {
namespace {

namespace core = envoy::config::core::v3;
namespace tls3 = envoy::extensions::transport_sockets::tls::v3;

// Secrets of the workload's own agent. Only the identity is worth waiting for without end; a gateway's file that is
// missing must not hold back its other listeners.
void set_agent_secret(tls3::SdsSecretConfig* secret, std::string_view name, bool wait) {
  secret->set_name(std::string(name));
  auto* source = secret->mutable_sds_config();
  auto* api = source->mutable_api_config_source();
  api->set_api_type(core::ApiConfigSource::GRPC);
  api->set_transport_api_version(core::V3);
  api->set_set_node_on_first_message_only(true);
  api->add_grpc_services()->mutable_envoy_grpc()->set_cluster_name("sds-grpc");
  if (wait) source->mutable_initial_fetch_timeout();
  source->set_resource_api_version(core::V3);
}

void set_ads_secret(tls3::SdsSecretConfig* secret, std::string_view name) {
  secret->set_name(std::string(name));
  secret->mutable_sds_config()->mutable_ads();
  secret->mutable_sds_config()->set_resource_api_version(core::V3);
}

void set_identity(tls3::CommonTlsContext* common) {
  set_agent_secret(common->add_tls_certificate_sds_secret_configs(), "default", true);
  set_agent_secret(common->mutable_combined_validation_context()->mutable_validation_context_sds_secret_config(),
                   "ROOTCA", true);
  common->mutable_combined_validation_context()->mutable_default_validation_context();
}

void add_exact_sans(tls3::CommonTlsContext* common, const std::vector<std::string>& sans) {
  auto* context = common->mutable_combined_validation_context()->mutable_default_validation_context();
  for (auto& san : sans) context->add_match_subject_alt_names()->set_exact(san);
}

void set_client_versions(tls3::CommonTlsContext* common) {
  common->mutable_tls_params()->set_tls_minimum_protocol_version(tls3::TlsParameters::TLSv1_2);
  common->mutable_tls_params()->set_tls_maximum_protocol_version(tls3::TlsParameters::TLSv1_3);
}

template <class Context>
void set_socket(TransportSocket* socket, const Context& context) {
  socket->set_name("envoy.transport_sockets.tls");
  pack(context, socket->mutable_typed_config());
}

tls3::TlsParameters::TlsProtocol version(const std::string& name) {
  if (name == "TLSV1_2") return tls3::TlsParameters::TLSv1_2;
  if (name == "TLSV1_3") return tls3::TlsParameters::TLSv1_3;
  return tls3::TlsParameters::TLS_AUTO;
}

}  // namespace

void set_istio_upstream_tls(TransportSocket* socket, const std::vector<std::string>& sans, std::string_view sni,
                            bool http2) {
  tls3::UpstreamTlsContext context;
  auto* common = context.mutable_common_tls_context();
  set_client_versions(common);
  set_identity(common);
  add_exact_sans(common, sans);
  for (auto alpn : {"istio-peer-exchange", "istio"}) common->add_alpn_protocols(alpn);
  if (http2) common->add_alpn_protocols("h2");
  context.set_sni(std::string(sni));
  set_socket(socket, context);
}

void set_origination_tls(TransportSocket* socket, const ClientTls& tls, const std::vector<std::string>& fallback_sans,
                         bool http2) {
  tls3::UpstreamTlsContext context;
  auto* common = context.mutable_common_tls_context();
  set_client_versions(common);
  bool named = !tls.credential_name.empty();
  auto credential = "kubernetes://" + tls.credential_name;
  if (tls.mode == ClientTls::Mode::kMutual) {
    auto* secret = common->add_tls_certificate_sds_secret_configs();
    if (named) set_ads_secret(secret, credential);
    else set_agent_secret(secret, fmt::format("file-cert:{}~{}", tls.client_certificate, tls.private_key), false);
  }
  if (!tls.insecure_skip_verify) {
    auto* validation = common->mutable_combined_validation_context();
    validation->mutable_default_validation_context();
    auto* root = validation->mutable_validation_context_sds_secret_config();
    if (named) set_ads_secret(root, credential + "-cacert");
    else set_agent_secret(root, "file-root:" + (tls.ca_certificates.empty() ? "system" : tls.ca_certificates), false);
    add_exact_sans(common, tls.subject_alt_names.empty() ? fallback_sans : tls.subject_alt_names);
  }
  if (http2) common->add_alpn_protocols("h2");
  context.set_sni(tls.sni);
  set_socket(socket, context);
}

void set_inbound_tls(TransportSocket* socket, std::string_view trust_domain, bool http) {
  tls3::DownstreamTlsContext context;
  auto* common = context.mutable_common_tls_context();
  set_client_versions(common);
  for (auto cipher : {"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256",
                      "ECDHE-RSA-AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-GCM-SHA256"})
    common->mutable_tls_params()->add_cipher_suites(cipher);
  set_identity(common);
  common->mutable_combined_validation_context()
      ->mutable_default_validation_context()
      ->add_match_subject_alt_names()
      ->set_prefix(fmt::format("spiffe://{}/", trust_domain));
  if (!http) common->add_alpn_protocols("istio-peer-exchange");
  common->add_alpn_protocols("h2");
  common->add_alpn_protocols("http/1.1");
  context.mutable_require_client_certificate()->set_value(true);
  set_socket(socket, context);
}

void set_gateway_tls(TransportSocket* socket, const ServerTls& tls, bool http) {
  tls3::DownstreamTlsContext context;
  auto* common = context.mutable_common_tls_context();
  bool mutual = tls.mode != ServerTls::Mode::kSimple;
  bool versions = version(tls.min_version) != tls3::TlsParameters::TLS_AUTO ||
                  version(tls.max_version) != tls3::TlsParameters::TLS_AUTO;
  if (versions || !tls.cipher_suites.empty()) {
    auto* params = common->mutable_tls_params();
    params->set_tls_minimum_protocol_version(version(tls.min_version));
    params->set_tls_maximum_protocol_version(version(tls.max_version));
    for (auto& cipher : tls.cipher_suites) params->add_cipher_suites(cipher);
  }
  if (tls.mode == ServerTls::Mode::kIstioMutual) {
    set_identity(common);
    if (!http) common->add_alpn_protocols("istio-peer-exchange");
  } else if (!tls.credential_name.empty()) {
    auto credential = "kubernetes://" + tls.credential_name;
    set_ads_secret(common->add_tls_certificate_sds_secret_configs(), credential);
    if (mutual) {
      auto* validation = common->mutable_combined_validation_context();
      validation->mutable_default_validation_context();
      set_ads_secret(validation->mutable_validation_context_sds_secret_config(), credential + "-cacert");
    }
  } else {
    set_agent_secret(common->add_tls_certificate_sds_secret_configs(),
                     fmt::format("file-cert:{}~{}", tls.server_certificate, tls.private_key), false);
    if (mutual) {
      auto* validation = common->mutable_combined_validation_context();
      validation->mutable_default_validation_context();
      set_agent_secret(validation->mutable_validation_context_sds_secret_config(), "file-root:" + tls.ca_certificates,
                       false);
    }
  }
  if (mutual && !tls.subject_alt_names.empty()) add_exact_sans(common, tls.subject_alt_names);
  common->add_alpn_protocols("h2");
  common->add_alpn_protocols("http/1.1");
  context.mutable_require_client_certificate()->set_value(mutual);
  set_socket(socket, context);
}

}  // namespace pinnace::translator
