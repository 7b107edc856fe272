// Path normalisation, done once per request so that routing, policy and forwarding see the same path.
// normalize_path (RFC 3986 6 as Envoy does it), merge_slashes, path_with_escaped_slashes_action.
#pragma once

#include <string_view>

#include "proxy/base/arena.h"

namespace pinnace::http {

enum class EscapedSlashes : uint8_t { kKeep, kReject, kUnescapeAndRedirect, kUnescapeAndForward };

struct PathOptions {
  bool normalize = false;
  bool merge_slashes = false;
  // A fragment has no place in a request target: refused, or taken off where the runtime key
  // envoy.reloadable_features.http_reject_path_with_fragment is false (as Istio sets it). CVE-2021-32779.
  bool strip_fragment = false;
  EscapedSlashes escaped_slashes = EscapedSlashes::kKeep;
};

enum class PathAction : uint8_t { kForward, kReject, kRedirect };

// Rewrites `path` (with its query, which is left alone); the result lives in `arena` when it differs.
PathAction normalize_path(std::string_view& path, const PathOptions& options, base::Arena& arena);

}  // namespace pinnace::http
