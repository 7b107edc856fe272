// One HTTP request to a URL by a connection of its own: what an application's HTTP client does.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "demo/app/url.h"

namespace pinnace::demo {

using Headers = std::vector<std::pair<std::string, std::string>>;

struct CallOutcome {
  std::string error;  // which step failed and why; empty: an answer came, whatever its status
  unsigned status = 0;
  Headers headers;
  std::string body;
};

// GET with `headers`. Gives up after 30 s, or beyond 1 MiB of answer. Never throws for what the network does.
boost::asio::awaitable<CallOutcome> call(const HttpUrl& url, const Headers& headers);

// The same text with every byte that is not printable ASCII as '?': what may stand in a JSON string as it is.
std::string printable(std::string_view text);

}  // namespace pinnace::demo
