// Header mutations of routes (request_headers_to_add, response_headers_to_remove ...). Values are literals.
#pragma once

#include "proxy/http/header_map.h"
#include "proxy/model/route.h"

namespace pinnace::http {

// ENVOY: removals come first, then additions in order.
inline void apply(const model::HeaderMutations& mutations, HeaderMap& headers) {
  using Action = model::HeaderMutation::Action;
  for (const auto& name : mutations.remove) headers.remove(name);
  for (const auto& one : mutations.add) {
    bool there = headers.find(one.name) != nullptr;
    if ((one.action == Action::kAddIfAbsent && there) || (one.action == Action::kOverwriteIfExists && !there)) continue;
    if (one.action == Action::kAppend) {
      headers.add(one.name, one.value);
    } else {
      headers.set(one.name, one.value);
    }
  }
}

}  // namespace pinnace::http
