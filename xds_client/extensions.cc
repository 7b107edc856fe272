#include "xds_client/extensions.h"

#include <algorithm>

#include "filters/http/discovered/discovered.h"
#include "filters/registry.h"
#include "proxy/base/log.h"

namespace pinnace::xds {

using envoy::config::core::v3::TypedExtensionConfig;

void Extensions::set_places(const std::vector<model::ExtensionPlace>& places) {
  places_.clear();
  std::set<std::string> names;
  for (const auto& place : places) {
    places_[place.id] = place;
    names.insert(place.resource.name);
  }
  std::erase_if(entries_, [&](const auto& entry) { return !names.contains(entry.first); });
  std::erase_if(compiled_, [&](const auto& entry) { return !places_.contains(entry.first); });
  std::erase_if(given_up_, [&](uint32_t id) { return !places_.contains(id); });
  std::erase_if(refused_, [&](uint32_t id) { return !places_.contains(id); });
}

std::set<model::ResourceRef> Extensions::wanted() const {
  std::set<model::ResourceRef> out;
  for (const auto& [id, place] : places_) out.insert(place.resource);
  return out;
}

std::vector<Extensions::Job> Extensions::jobs(const std::vector<Resource>& resources) const {
  std::vector<Job> out;
  for (const auto& [id, place] : places_) {
    const Resource* fresh = nullptr;
    for (const auto& resource : resources) {
      if (resource.name == place.resource.name) fresh = &resource;
    }
    auto entry = entries_.find(place.resource.name);
    bool late = !fresh && !compiled_.contains(id) && entry != entries_.end() && entry->second.delivered;
    if (fresh || late) out.push_back({place, fresh ? *fresh : entry->second.resource, nullptr, {}});
  }
  return out;
}

void Extensions::compile(Job& job, compile::Context& context) {
  TypedExtensionConfig proto;
  if (!job.resource.body.UnpackTo(&proto)) {
    job.refused = "no TypedExtensionConfig";
    return;
  }
  std::string type = filters::type_of(proto.typed_config());
  if (!job.place.types.contains(type)) {
    job.refused = type + ": not among the type_urls of the filter";
    return;
  }
  context.stat_prefix = job.place.stat_prefix;
  context.direction = job.place.direction;
  auto compiled = filters::compile_http_filter(proto.name(), proto.typed_config(), context);
  if (!compiled) job.refused = compiled.error().message;
  else job.config = *compiled ? std::move(*compiled) : filters::discovered::nothing();
}

std::string Extensions::take(std::vector<Job> jobs, const std::vector<Resource>& resources, int64_t now_s) {
  std::map<std::string, std::string> refused;  // name → why
  for (const auto& job : jobs) {
    if (!job.refused.empty()) refused[job.resource.name] = job.refused;
  }
  for (auto& job : jobs) {
    if (!places_.contains(job.place.id)) continue;
    if (refused.contains(job.resource.name)) {
      refused_.insert(job.place.id);
      continue;
    }
    compiled_[job.place.id] = std::move(job.config);
    changed_.insert(job.place.id);
  }
  // What was in force elsewhere does not fit a new place.
  for (const auto& job : jobs) {
    bool fresh = std::any_of(resources.begin(), resources.end(),
                             [&](const Resource& resource) { return resource.name == job.resource.name; });
    if (fresh || job.refused.empty()) continue;
    entries_[job.resource.name].rejected = {job.resource, job.refused, now_s};
    PN_LOG(kWarning, "xds", "refused (TypedExtensionConfig) for a new listener: {}: {}", job.resource.name,
           job.refused);
  }
  std::string out;
  for (const auto& resource : resources) {
    ExtensionEntry& entry = entries_[resource.name];
    auto why = refused.find(resource.name);
    if (why == refused.end()) {
      entry = {resource, now_s, {}, true};
    } else {
      entry.rejected = {resource, why->second, now_s};
      out += (out.empty() ? "" : "\n") + resource.name + ": " + why->second;
    }
  }
  return out;
}

void Extensions::remove(const std::string& name) {
  entries_.erase(name);
  for (const auto& [id, place] : places_) {
    if (place.resource.name == name && compiled_.erase(id) > 0) changed_.insert(id);
  }
}

// ENVOY: a refused first configuration ends the wait: without a default requests get 500. One that serves already keeps
// its old self.
bool Extensions::ready(const model::ExtensionPlace& place, bool serving) const {
  return !place.waits || compiled_.contains(place.id) || given_up_.contains(place.id) ||
         (!serving && refused_.contains(place.id));
}

bool Extensions::give_up(uint32_t id) {
  if (!places_.contains(id) || compiled_.contains(id)) return false;
  return given_up_.insert(id).second;
}

void Extensions::give_up_all() {
  for (const auto& [id, place] : places_) {
    if (!compiled_.contains(id)) refused_.insert(id);
  }
}

void Extensions::settle(model::Update& update) {
  for (uint32_t id : std::exchange(changed_, {})) {
    auto found = compiled_.find(id);
    update.extensions.push_back({id, found == compiled_.end() ? nullptr : found->second});
  }
}

}  // namespace pinnace::xds
