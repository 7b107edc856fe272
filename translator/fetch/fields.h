// Fields: one YAML mapping read key by key. What is not read by the time it is destroyed is a problem ("unknown
// field"), so that nothing which would change behaviour is ignored. A lenient one (Kubernetes' own kinds) leaves unread
// keys alone. ERRORS: collected as line and reason; reading goes on with the default. LIFETIME: the problem list
// outlives it.
#pragma once

#include <yaml-cpp/yaml.h>

#include <functional>
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "translator/fetch/resources.h"

namespace pinnace::translator {

struct Problem {
  int line = 0;
  std::string reason;
};
using Problems = std::vector<Problem>;

class Fields {
 public:
  Fields(YAML::Node node, std::string path, Problems& problems, bool strict = true);
  Fields(Fields&& other) noexcept;
  Fields& operator=(Fields&&) = delete;
  ~Fields();

  bool has(std::string_view key);
  bool empty() const;
  int line() const;
  const std::string& path() const { return path_; }

  std::string text(std::string_view key, std::string fallback = {});
  uint32_t number(std::string_view key, uint32_t fallback = 0, uint32_t max = 0xffffffffu);
  std::optional<uint32_t> maybe_number(std::string_view key);
  bool flag(std::string_view key, bool fallback = false);
  std::optional<Duration> duration(std::string_view key);
  std::vector<std::string> texts(std::string_view key);
  Labels text_map(std::string_view key);
  // An empty mapping when the key is absent.
  Fields map(std::string_view key);
  std::vector<Fields> maps(std::string_view key);
  // Calls `each` with every key of the mapping under `key` and its value as text or mapping.
  void each(std::string_view key, const std::function<void(const std::string& name, Fields value)>& each);
  void each_text(std::string_view key,
                 const std::function<void(const std::string&, const std::string&, int line)>& each);

  // The key must be absent (or empty): named in the problem otherwise.
  void refuse(std::initializer_list<std::string_view> keys, std::string_view why = "is not supported yet");
  void ignore(std::initializer_list<std::string_view> keys);
  void problem(std::string reason);
  void problem_at(std::string_view key, std::string reason);

 private:
  YAML::Node child(std::string_view key);
  std::string path_of(std::string_view key) const;

  YAML::Node node_;
  std::string path_;
  Problems* problems_;
  bool strict_;
  std::set<std::string, std::less<>> read_;
};

// "1h30m", "0.5s", "100ms". nullopt when it is none.
std::optional<Duration> parse_duration(std::string_view text);

}  // namespace pinnace::translator
