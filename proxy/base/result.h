// Result<T>: a value or an Error. Used by everything that can fail outside the data path; no exceptions there.
// ERRORS: an Error names the place (field path, file:line or address) and the reason, ready to print.
#pragma once

#include <boost/system/result.hpp>
#include <stdexcept>
#include <string>
#include <utility>

namespace pinnace {

struct Error {
  std::string message;

  Error() = default;
  // Not from a bare string: a Result<std::string> must tell its value from its error.
  struct Because {};
  Error(Because, std::string why) : message(std::move(why)) {}

  // The same error with its place put in front: "listeners[0].address" + "not an IP address".
  Error at(const std::string& place) && {
    if (message.empty() || message.front() == '[' || message.front() == '.') return {Because{}, place + message};
    return {Because{}, place + ": " + message};
  }
};

[[noreturn]] inline void throw_exception_from_error(const Error& error, const boost::source_location&) {
  throw std::logic_error("Result without a value: " + error.message);
}

template <class T>
using Result = boost::system::result<T, Error>;

inline Error error(std::string message) { return {Error::Because{}, std::move(message)}; }

}  // namespace pinnace
