#include "xds_client/subscription.h"

#include <algorithm>

#include "envoy/service/discovery/v3/discovery.pb.h"

namespace pinnace::xds {

namespace discovery = envoy::service::discovery::v3;

Subscription::Type& Subscription::type(const std::string& url) {
  for (auto& type : types_) {
    if (type.url == url) return type;
  }
  types_.push_back({});
  types_.back().url = url;
  return types_.back();
}

void Subscription::want_all(const std::string& url) {
  Type& wanted = type(url);
  wanted.all = true;
  if (!open_ || wanted.asked) return;
  wanted.asked = true;
  if (delta_) ask_delta(wanted, {}, {}, true);
  else ask_sotw(wanted, "", true);
}

void Subscription::want(const std::string& url, const std::set<std::string>& names) {
  Type& wanted = type(url);
  std::vector<std::string> added, dropped;
  std::set_difference(names.begin(), names.end(), wanted.names.begin(), wanted.names.end(), std::back_inserter(added));
  std::set_difference(wanted.names.begin(), wanted.names.end(), names.begin(), names.end(),
                      std::back_inserter(dropped));
  if (added.empty() && dropped.empty()) return;
  wanted.names = names;
  for (const auto& name : dropped) wanted.known.erase(name);
  if (!open_) return;
  bool initial = !std::exchange(wanted.asked, true);
  if (delta_) ask_delta(wanted, added, initial ? std::vector<std::string>() : dropped, initial);
  else if (wanted.unanswered) wanted.changed = true;
  else ask_sotw(wanted, "", true);
}

std::vector<std::string> Subscription::take_outgoing() { return std::exchange(outgoing_, {}); }

void Subscription::stream_opened() {
  open_ = true;
  stream_++;
  node_sent_ = false;
  outgoing_.clear();
  for (auto& wanted : types_) {
    wanted.asked = false;
    wanted.nonce.clear();
    wanted.unanswered = wanted.changed = false;
    if (!wanted.all && wanted.names.empty()) continue;
    wanted.asked = true;
    if (delta_) ask_delta(wanted, {wanted.names.begin(), wanted.names.end()}, {}, true);
    else ask_sotw(wanted, "", true);
  }
}

void Subscription::ask_delta(const Type& wanted, const std::vector<std::string>& subscribe,
                             const std::vector<std::string>& unsubscribe, bool initial) {
  discovery::DeltaDiscoveryRequest request;
  if (!std::exchange(node_sent_, true)) *request.mutable_node() = node_;
  request.set_type_url(wanted.url);
  for (const auto& name : subscribe) request.add_resource_names_subscribe(name);
  for (const auto& name : unsubscribe) request.add_resource_names_unsubscribe(name);
  if (initial) {
    // Without these a server cannot tell us what was removed while we were away.
    for (const auto& [name, version] : wanted.known) (*request.mutable_initial_resource_versions())[name] = version;
  }
  outgoing_.push_back(request.SerializeAsString());
}

void Subscription::ask_sotw(Type& wanted, const std::string& rejected, bool fresh) {
  if (fresh) wanted.told = wanted.names;
  discovery::DiscoveryRequest request;
  if (!std::exchange(node_sent_, true)) *request.mutable_node() = node_;
  request.set_type_url(wanted.url);
  request.set_version_info(wanted.version);
  request.set_response_nonce(wanted.nonce);
  for (const auto& name : wanted.told) request.add_resource_names(name);
  if (!rejected.empty()) {
    request.mutable_error_detail()->set_code(3);  // INVALID_ARGUMENT
    request.mutable_error_detail()->set_message(rejected);
  }
  outgoing_.push_back(request.SerializeAsString());
}

Result<Batch> Subscription::receive(const std::string& message) {
  Batch batch;
  if (delta_) {
    discovery::DeltaDiscoveryResponse response;
    if (!response.ParseFromString(message)) return error("a response that does not parse");
    batch.type_url = response.type_url();
    batch.nonce = response.nonce();
    batch.version = response.system_version_info();
    for (auto& resource : *response.mutable_resources()) {
      batch.resources.push_back({resource.name(), resource.version(), std::move(*resource.mutable_resource())});
    }
    std::set<std::string> names;
    for (const auto& resource : batch.resources) {
      if (!names.insert(resource.name).second) {  // ENVOY: of delta only
        batch.fault = "duplicate name " + resource.name + " found among added/updated resources";
      }
    }
    batch.removed.assign(response.removed_resources().begin(), response.removed_resources().end());
  } else {
    discovery::DiscoveryResponse response;
    if (!response.ParseFromString(message)) return error("a response that does not parse");
    batch.type_url = response.type_url();
    batch.nonce = response.nonce();
    batch.version = response.version_info();
    for (auto& resource : *response.mutable_resources()) {
      batch.resources.push_back({{}, response.version_info(), std::move(resource)});
    }
  }
  auto found = std::find_if(types_.begin(), types_.end(), [&](const Type& t) { return t.url == batch.type_url; });
  if (found == types_.end() || !found->asked)
    return error("a response of type " + batch.type_url + ", which was not asked for");
  batch.complete = !delta_ && found->all;
  found->nonce = batch.nonce;
  found->unanswered = true;
  batch.stream = stream_;
  return batch;
}

void Subscription::answer(const Batch& batch, const std::string& rejected) {
  Type& answered = type(batch.type_url);
  if (delta_) {
    // Rejected resources count as known too: the server need not send them again until they change.
    for (const auto& resource : batch.resources) {
      if (answered.all || answered.names.contains(resource.name)) answered.known[resource.name] = resource.version;
    }
    for (const auto& name : batch.removed) answered.known.erase(name);
    // A nonce means something on its own stream only; compiling may outlast it.
    if (!open_ || batch.stream != stream_) return;
    discovery::DeltaDiscoveryRequest request;
    request.set_type_url(batch.type_url);
    request.set_response_nonce(batch.nonce);
    if (!rejected.empty()) {
      request.mutable_error_detail()->set_code(3);  // INVALID_ARGUMENT
      request.mutable_error_detail()->set_message(rejected);
    }
    outgoing_.push_back(request.SerializeAsString());
    return;
  }
  if (rejected.empty()) answered.version = batch.version;
  if (!open_ || batch.stream != stream_ || answered.nonce != batch.nonce)
    return;  // a newer response is already here and will be answered
  ask_sotw(answered, rejected, false);
  answered.unanswered = false;
  if (std::exchange(answered.changed, false) && answered.told != answered.names) ask_sotw(answered, "", true);
}

}  // namespace pinnace::xds
