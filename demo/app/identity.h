// Who this application says it is.
#pragma once

#include <string>

namespace pinnace::demo {

struct Identity {
  std::string name = "demo";
  std::string version = "v1";
};

}  // namespace pinnace::demo
