// GET on a proxy's admin address. ERRORS: says which address did not answer and what to look at.
#pragma once

#include <boost/json/value.hpp>
#include <string>

#include "proxy/base/result.h"

namespace pinnace::ctl {

// `address`: "127.0.0.1:15000".
Result<std::string> get(const std::string& address, const std::string& target);
Result<boost::json::value> get_json(const std::string& address, const std::string& target);

}  // namespace pinnace::ctl
