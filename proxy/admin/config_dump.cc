// /config_dump: the original protos of everything in force, warming or refused, in Envoy's sections.
#include <fmt/format.h>
#include <google/protobuf/util/field_mask_util.h>
#include <google/protobuf/util/time_util.h>
#include <re2/re2.h>

#include "envoy/admin/v3/config_dump.pb.h"
#include "envoy/admin/v3/config_dump_shared.pb.h"
#include "envoy/config/listener/v3/listener.pb.h"
#include "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.pb.h"
#include "proxy/admin/admin.h"

namespace pinnace::admin {
namespace {

namespace pb = envoy::admin::v3;
using google::protobuf::Any;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::util::FieldMaskUtil;

using Section = std::unique_ptr<Message>;

void stamp(google::protobuf::Timestamp* to, int64_t seconds) {
  *to = google::protobuf::util::TimeUtil::SecondsToTimestamp(seconds);
}

void set_error(pb::UpdateFailureState* to, const xds::Rejection& rejected) {
  *to->mutable_failed_configuration() = rejected.resource.body;
  stamp(to->mutable_last_update_attempt(), rejected.at_s);
  to->set_details(rejected.why);
}

Section bootstrap_section(Host& host) {
  auto out = std::make_unique<pb::BootstrapConfigDump>();
  *out->mutable_bootstrap() = host.bootstrap();
  stamp(out->mutable_last_updated(), host.started_s());
  return out;
}

Section clusters_section(Host& host, const std::function<bool(const std::string&)>& wanted) {
  auto out = std::make_unique<pb::ClustersConfigDump>();
  out->set_version_info(host.configuration().version(xds::kClusterType));
  for (const auto& [name, entry] : host.configuration().clusters().entries()) {
    if (!wanted(name)) continue;
    auto fill = [&entry = entry](pb::ClustersConfigDump::DynamicCluster* item, const xds::Resource& resource) {
      item->set_version_info(resource.version);
      *item->mutable_cluster() = resource.body;
      stamp(item->mutable_last_updated(), entry.updated_s);
    };
    if (entry.active && entry.is_static) {
      auto* item = out->add_static_clusters();
      *item->mutable_cluster() = entry.resource.body;
      stamp(item->mutable_last_updated(), entry.updated_s);
    } else if (entry.active) {
      auto* item = out->add_dynamic_active_clusters();
      fill(item, entry.resource);
      if (entry.rejected.set()) set_error(item->mutable_error_state(), entry.rejected);
    }
    if (entry.warming) fill(out->add_dynamic_warming_clusters(), entry.warming_resource);
    if (!entry.active && !entry.warming && entry.rejected.set()) {
      auto* item = out->add_dynamic_warming_clusters();
      item->set_version_info(entry.rejected.resource.version);
      set_error(item->mutable_error_state(), entry.rejected);
    }
  }
  return out;
}

Section endpoints_section(Host& host, const std::function<bool(const std::string&)>& wanted) {
  auto out = std::make_unique<pb::EndpointsConfigDump>();
  const auto& clusters = host.configuration().clusters();
  for (const auto& [name, entry] : clusters.entries()) {
    if (!entry.active || !wanted(name)) continue;
    envoy::config::endpoint::v3::ClusterLoadAssignment assignment;
    auto delivered = clusters.assignments().find(entry.active->eds.name);
    if (!entry.active->eds.name.empty() && delivered != clusters.assignments().end()) {
      delivered->second.body.UnpackTo(&assignment);
    } else {
      assignment.set_cluster_name(name);
      auto* locality = assignment.add_endpoints();
      for (const auto& endpoint :
           entry.endpoints ? entry.endpoints->endpoints : decltype(entry.endpoints->endpoints)()) {
        auto* item = locality->add_lb_endpoints();
        auto* address = item->mutable_endpoint()->mutable_address();
        if (endpoint->address.is_ip()) {
          address->mutable_socket_address()->set_address(endpoint->address.ip_text());
          address->mutable_socket_address()->set_port_value(endpoint->address.port());
        } else {
          address->mutable_pipe()->set_path(endpoint->text);
        }
        item->mutable_endpoint()->set_hostname(endpoint->hostname);
        item->set_health_status(endpoint->healthy ? envoy::config::core::v3::HEALTHY
                                                  : envoy::config::core::v3::UNHEALTHY);
        item->mutable_load_balancing_weight()->set_value(endpoint->weight);
      }
    }
    if (entry.is_static) {
      out->add_static_endpoint_configs()->mutable_endpoint_config()->PackFrom(assignment);
    } else {
      out->add_dynamic_endpoint_configs()->mutable_endpoint_config()->PackFrom(assignment);
    }
  }
  return out;
}

Section listeners_section(Host& host, const std::function<bool(const std::string&)>& wanted) {
  auto out = std::make_unique<pb::ListenersConfigDump>();
  out->set_version_info(host.configuration().version(xds::kListenerType));
  for (const auto& [name, entry] : host.configuration().listeners()) {
    if (!wanted(name)) continue;
    if (entry.is_static) {
      auto* item = out->add_static_listeners();
      *item->mutable_listener() = entry.active ? entry.resource.body : entry.warming_resource.body;
      stamp(item->mutable_last_updated(), entry.updated_s);
      continue;
    }
    auto* item = out->add_dynamic_listeners();
    item->set_name(name);
    auto fill = [&entry = entry](pb::ListenersConfigDump::DynamicListenerState* state, const xds::Resource& resource) {
      state->set_version_info(resource.version);
      *state->mutable_listener() = resource.body;
      stamp(state->mutable_last_updated(), entry.updated_s);
    };
    if (entry.active) fill(item->mutable_active_state(), entry.resource);
    if (entry.warming) fill(item->mutable_warming_state(), entry.warming_resource);
    if (entry.rejected.set()) set_error(item->mutable_error_state(), entry.rejected);
  }
  return out;
}

// Inline route configurations stand in their listeners; RDS ones are resources of their own.
void add_inline_routes(const Any& listener_any, int64_t updated_s, pb::RoutesConfigDump& out) {
  envoy::config::listener::v3::Listener listener;
  if (!listener_any.UnpackTo(&listener)) return;
  auto add = [&](const envoy::config::listener::v3::FilterChain& chain) {
    for (const auto& filter : chain.filters()) {
      envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager hcm;
      if (!filter.typed_config().UnpackTo(&hcm) || !hcm.has_route_config()) continue;
      auto* item = out.add_static_route_configs();
      item->mutable_route_config()->PackFrom(hcm.route_config());
      stamp(item->mutable_last_updated(), updated_s);
    }
  };
  for (const auto& chain : listener.filter_chains()) add(chain);
  if (listener.has_default_filter_chain()) add(listener.default_filter_chain());
}

Section routes_section(Host& host, const std::function<bool(const std::string&)>& wanted) {
  auto out = std::make_unique<pb::RoutesConfigDump>();
  for (const auto& [name, entry] : host.configuration().listeners()) {
    if (entry.active) add_inline_routes(entry.resource.body, entry.updated_s, *out);
  }
  for (const auto& [ref, entry] : host.configuration().routes()) {
    if (!wanted(ref.name)) continue;
    auto* item = out->add_dynamic_route_configs();
    item->set_version_info(entry.resource.version);
    if (entry.delivered) {
      *item->mutable_route_config() = entry.resource.body;
    } else {  // istioctl reads one in any case
      envoy::config::route::v3::RouteConfiguration none;
      none.set_name(ref.name);
      item->mutable_route_config()->PackFrom(none);
    }
    stamp(item->mutable_last_updated(), entry.updated_s);
    if (entry.rejected.set()) set_error(item->mutable_error_state(), entry.rejected);
  }
  return out;
}

Section secrets_section(Host& host, const std::function<bool(const std::string&)>& wanted) {
  auto out = std::make_unique<pb::SecretsConfigDump>();
  const auto& secrets = host.configuration().secrets();
  for (const auto& [key, entry] : secrets.entries()) {
    if (!entry.delivered || !wanted(key.name)) continue;
    auto* item = out->add_dynamic_active_secrets();
    item->set_name(key.name);
    item->set_version_info(entry.version);
    stamp(item->mutable_last_updated(), entry.updated_s);
    item->mutable_secret()->PackFrom(entry.secret);
  }
  for (const auto& key : secrets.wanted()) {
    if (secrets.entries().contains(key) || !wanted(key.name)) continue;
    auto* item = out->add_dynamic_warming_secrets();
    item->set_name(key.name);
    item->set_version_info("uninitialized");
    stamp(item->mutable_last_updated(), host.started_s());
    envoy::extensions::transport_sockets::tls::v3::Secret none;
    none.set_name(key.name);
    item->mutable_secret()->PackFrom(none);  // ENVOY; istioctl reads one in any case
  }
  return out;
}

Section extensions_section(Host& host, const std::function<bool(const std::string&)>& wanted) {
  auto out = std::make_unique<pb::EcdsConfigDump>();
  for (const auto& [name, entry] : host.configuration().extensions().entries()) {
    if (!wanted(name)) continue;
    auto* item = out->add_ecds_filters();
    item->set_version_info(entry.resource.version);
    if (entry.delivered) *item->mutable_ecds_filter() = entry.resource.body;
    stamp(item->mutable_last_updated(), entry.updated_s);
    if (entry.rejected.set()) set_error(item->mutable_error_state(), entry.rejected);
  }
  return out;
}

std::vector<Section> sections(Host& host, const Query& query, const std::function<bool(const std::string&)>& wanted) {
  std::vector<Section> out;
  out.push_back(bootstrap_section(host));
  out.push_back(clusters_section(host, wanted));
  if (query.has("include_eds")) out.push_back(endpoints_section(host, wanted));
  out.push_back(listeners_section(host, wanted));
  out.push_back(std::make_unique<pb::ScopedRoutesConfigDump>());
  out.push_back(routes_section(host, wanted));
  out.push_back(secrets_section(host, wanted));
  if (!host.configuration().extensions().entries().empty()) out.push_back(extensions_section(host, wanted));
  return out;
}

Reply refuse(unsigned status, std::string why) { return {status, std::move(why), "text/plain"}; }

Reply print(pb::ConfigDump& dump) {
  redact(dump);
  return {200, to_json(dump, true), "application/json"};
}

// Keeps what `mask` names; a path may lead through one Any into the message it holds. False: a path leads nowhere.
bool trim(const google::protobuf::FieldMask& mask, Message* item) {
  google::protobuf::FieldMask own;
  std::map<std::string, google::protobuf::FieldMask> within;  // Any field → paths inside
  for (const auto& path : mask.paths()) {
    std::string head = path.substr(0, path.find('.'));
    const FieldDescriptor* field = item->GetDescriptor()->FindFieldByName(head);
    bool is_any = field && !field->is_repeated() && field->message_type() == Any::descriptor();
    if (is_any && head != path) {
      within[head].add_paths(path.substr(head.size() + 1));
      own.add_paths(head);
    } else if (FieldMaskUtil::GetFieldDescriptors(item->GetDescriptor(), path, nullptr)) {
      own.add_paths(path);
    } else {
      return false;
    }
  }
  for (const auto& [name, inner_mask] : within) {
    auto* any =
        static_cast<Any*>(item->GetReflection()->MutableMessage(item, item->GetDescriptor()->FindFieldByName(name)));
    std::string type = any->type_url().substr(any->type_url().rfind('/') + 1);
    const auto* descriptor = google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(type);
    if (!descriptor) return false;
    Section inner(google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor)->New());
    if (!any->UnpackTo(inner.get()) || !trim(inner_mask, inner.get())) return false;
    any->PackFrom(*inner);
  }
  FieldMaskUtil::TrimMessage(own, item);
  return true;
}

// ?resource=NAME: the items of one repeated field of any section.
Reply one_resource(std::vector<Section>& all, std::string name, const Query& query) {
  // UNLIKE ENVOY: braces around the name, as people quote it for curl, are taken off.
  if (name.size() > 2 && name.front() == '{' && name.back() == '}') name = name.substr(1, name.size() - 2);
  pb::ConfigDump dump;
  for (auto& section : all) {
    const FieldDescriptor* field = section->GetDescriptor()->FindFieldByName(name);
    if (!field) continue;
    if (!field->is_repeated()) {
      return refuse(400, fmt::format("{0} is not a repeated field. Use ?mask={0} to get only this field", name));
    }
    const auto* reflection = section->GetReflection();
    for (int i = 0; i < reflection->FieldSize(*section, field); i++) {
      Message* item = reflection->MutableRepeatedMessage(section.get(), field, i);
      if (query.has("mask")) {
        google::protobuf::FieldMask mask;
        FieldMaskUtil::FromString(query.get("mask"), &mask);
        if (!trim(mask, item))
          return refuse(400, "FieldMask " + query.get("mask") + " could not be successfully used.");
      }
      dump.add_configs()->PackFrom(*item);
    }
    return print(dump);
  }
  return refuse(404, name + " not found in config dump");
}

}  // namespace

Reply config_dump(Host& host, const Query& query) {
  std::shared_ptr<RE2> pattern;
  if (query.has("name_regex")) {
    RE2::Options options;
    options.set_log_errors(false);
    pattern = std::make_shared<RE2>(query.get("name_regex"), options);
    if (!pattern->ok()) {
      return refuse(400, "INVALID_ARGUMENT: Error while parsing name_regex from " + query.get("name_regex") + ": " +
                             pattern->error());
    }
  }
  auto wanted = [&](const std::string& name) { return !pattern || RE2::FullMatch(name, *pattern); };
  std::vector<Section> all = sections(host, query, wanted);
  if (query.has("resource")) return one_resource(all, query.get("resource"), query);
  pb::ConfigDump dump;
  if (!query.has("mask")) {
    for (auto& section : all) dump.add_configs()->PackFrom(*section);
    return print(dump);
  }
  google::protobuf::FieldMask mask;
  FieldMaskUtil::FromString(query.get("mask"), &mask);
  // ENVOY: a mask applies to the sections for which all of its paths are valid; the others are left out.
  for (auto& section : all) {
    bool valid = std::all_of(mask.paths().begin(), mask.paths().end(), [&](const std::string& path) {
      return FieldMaskUtil::GetFieldDescriptors(section->GetDescriptor(), path, nullptr);
    });
    if (!valid) continue;
    FieldMaskUtil::TrimMessage(mask, section.get());
    dump.add_configs()->PackFrom(*section);
  }
  if (dump.configs_size() == 0) {
    return refuse(400, "FieldMask " + query.get("mask") + " could not be successfully applied to any configs.");
  }
  return print(dump);
}

}  // namespace pinnace::admin
