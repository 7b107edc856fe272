// Extensions: filter configurations that come by ECDS: what was delivered, what it compiled to for each place that
// wants it, and what was refused. THREAD: control; compile() is the compile thread's.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "proxy/model/extension.h"
#include "proxy/model/update.h"
#include "xds_client/clusters.h"
#include "xds_client/compile/context.h"
#include "xds_client/subscription.h"

namespace pinnace::xds {

struct ExtensionEntry {
  Resource resource;  // in force
  int64_t updated_s = 0;
  Rejection rejected;
  bool delivered = false;
};

class Extensions {
 public:
  using ConfigPtr = std::shared_ptr<const filter::HttpFilterConfig>;
  // A resource to compile for a place.
  struct Job {
    model::ExtensionPlace place;
    Resource resource;
    ConfigPtr config;     // what it came to
    std::string refused;  // or why it did not
  };

  // The places there are now. Those of listeners that are gone are forgotten.
  void set_places(const std::vector<model::ExtensionPlace>& places);
  std::set<model::ResourceRef> wanted() const;
  // What is to compile: `resources` for all places that want them, and what is in force for new places.
  std::vector<Job> jobs(const std::vector<Resource>& resources) const;
  static void compile(Job& job, compile::Context& context);
  // Takes compiled jobs over: a resource goes into force when it compiled for all its places. Returns what is wrong.
  std::string take(std::vector<Job> jobs, const std::vector<Resource>& resources, int64_t now_s);
  void remove(const std::string& name);
  // The time a place waits is over.
  // A place of a listener that begins to warm. What workers have of a former life of it is not for it.
  void expect(const model::ExtensionPlace& place) {
    if (!places_.contains(place.id)) changed_.insert(place.id);
  }
  // False: nothing waits there any more.
  bool give_up(uint32_t id);
  void give_up_all();

  // `serving`: a former self of its listener serves, so a refusal can be waited out.
  bool ready(const model::ExtensionPlace& place, bool serving) const;
  // Adds what has changed to `update`.
  void settle(model::Update& update);
  const std::map<std::string, ExtensionEntry>& entries() const { return entries_; }

 private:
  std::map<uint32_t, model::ExtensionPlace> places_;
  std::map<std::string, ExtensionEntry> entries_;
  std::map<uint32_t, ConfigPtr> compiled_;  // by place
  std::set<uint32_t> changed_, given_up_;
  std::set<uint32_t> refused_;  // what came for them could not be used
};

}  // namespace pinnace::xds
