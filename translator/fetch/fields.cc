#include "translator/fetch/fields.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace pinnace::translator {
namespace {

bool absent(const YAML::Node& node) { return !node.IsDefined() || node.IsNull(); }

}  // namespace

std::optional<Duration> parse_duration(std::string_view text) {
  static constexpr std::pair<std::string_view, double> kUnits[] = {{"ns", 1},  {"us", 1e3}, {"ms", 1e6},
                                                                   {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
  if (text.empty()) return std::nullopt;
  double total = 0;
  while (!text.empty()) {
    double value = 0;
    auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failed != std::errc{} || value < 0) return std::nullopt;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    size_t letters = 0;
    while (letters < text.size() && text[letters] >= 'a' && text[letters] <= 'z') letters++;
    double unit = 0;
    for (auto& [name, size] : kUnits)
      if (name == text.substr(0, letters)) unit = size;
    if (unit == 0) return std::nullopt;
    total += value * unit;
    text.remove_prefix(letters);
  }
  return Duration(std::llround(total));
}

Fields::Fields(YAML::Node node, std::string path, Problems& problems, bool strict)
    : node_(std::move(node)), path_(std::move(path)), problems_(&problems), strict_(strict) {
  if (!absent(node_) && !node_.IsMap()) {
    problems.push_back({node_.Mark().line + 1, fmt::format("{}: expected a mapping", path_)});
    strict_ = false;
  }
}

Fields::Fields(Fields&& other) noexcept
    : node_(other.node_),
      path_(std::move(other.path_)),
      problems_(other.problems_),
      strict_(other.strict_),
      read_(std::move(other.read_)) {
  other.strict_ = false;
}

Fields::~Fields() {
  if (!strict_ || absent(node_)) return;
  for (const auto& entry : node_) {
    if (read_.contains(entry.first.Scalar())) continue;
    problems_->push_back(
        {entry.first.Mark().line + 1, fmt::format("{}: unknown field", path_of(entry.first.Scalar()))});
  }
}

std::string Fields::path_of(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

YAML::Node Fields::child(std::string_view key) {
  read_.emplace(key);
  if (absent(node_) || !node_.IsMap()) return YAML::Node(YAML::NodeType::Undefined);
  for (const auto& entry : node_)
    if (entry.first.IsScalar() && entry.first.Scalar() == key) return entry.second;
  return YAML::Node(YAML::NodeType::Undefined);
}

bool Fields::has(std::string_view key) { return !absent(child(key)); }
bool Fields::empty() const { return absent(node_) || node_.size() == 0; }
int Fields::line() const { return absent(node_) ? 0 : node_.Mark().line + 1; }

std::string Fields::text(std::string_view key, std::string fallback) {
  auto node = child(key);
  if (absent(node)) return fallback;
  if (node.IsScalar()) return node.Scalar();
  problem_at(key, "expected text");
  return fallback;
}

uint32_t Fields::number(std::string_view key, uint32_t fallback, uint32_t max) {
  auto node = child(key);
  if (absent(node)) return fallback;
  if (node.IsScalar()) {
    const auto& text = node.Scalar();
    uint32_t value = 0;
    auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failed == std::errc{} && end == text.data() + text.size() && value <= max) return value;
  }
  problem_at(key, fmt::format("expected a number up to {}", max));
  return fallback;
}

std::optional<uint32_t> Fields::maybe_number(std::string_view key) {
  if (!has(key)) return std::nullopt;
  return number(key);
}

bool Fields::flag(std::string_view key, bool fallback) {
  auto node = child(key);
  if (absent(node)) return fallback;
  if (node.IsScalar() && node.Scalar() == "true") return true;
  if (node.IsScalar() && node.Scalar() == "false") return false;
  problem_at(key, "expected true or false");
  return fallback;
}

std::optional<Duration> Fields::duration(std::string_view key) {
  auto node = child(key);
  if (absent(node)) return std::nullopt;
  auto value = node.IsScalar() ? parse_duration(node.Scalar()) : std::nullopt;
  if (!value) problem_at(key, "expected a duration such as 1.5s or 2m");
  return value;
}

std::vector<std::string> Fields::texts(std::string_view key) {
  std::vector<std::string> out;
  auto node = child(key);
  if (absent(node)) return out;
  if (!node.IsSequence()) {
    problem_at(key, "expected a list");
    return out;
  }
  for (const auto& item : node) {
    if (item.IsScalar()) out.push_back(item.Scalar());
    else problem_at(key, "expected a list of text");
  }
  return out;
}

Labels Fields::text_map(std::string_view key) {
  Labels out;
  each_text(key, [&](const std::string& name, const std::string& value, int) { out[name] = value; });
  return out;
}

void Fields::each_text(std::string_view key,
                       const std::function<void(const std::string&, const std::string&, int line)>& each) {
  auto node = child(key);
  if (absent(node)) return;
  if (!node.IsMap()) return problem_at(key, "expected a mapping");
  for (const auto& entry : node) {
    if (!entry.second.IsScalar() && !entry.second.IsNull()) {
      problem_at(key, "expected a mapping of text");
      continue;
    }
    each(entry.first.Scalar(), entry.second.IsScalar() ? entry.second.Scalar() : "", entry.first.Mark().line + 1);
  }
}

Fields Fields::map(std::string_view key) { return Fields(child(key), path_of(key), *problems_, strict_); }

std::vector<Fields> Fields::maps(std::string_view key) {
  std::vector<Fields> out;
  auto node = child(key);
  if (absent(node)) return out;
  if (!node.IsSequence()) {
    problem_at(key, "expected a list");
    return out;
  }
  out.reserve(node.size());
  for (size_t i = 0; i < node.size(); i++)
    out.emplace_back(node[i], fmt::format("{}[{}]", path_of(key), i), *problems_, strict_);
  return out;
}

void Fields::each(std::string_view key, const std::function<void(const std::string& name, Fields value)>& each) {
  auto node = child(key);
  if (absent(node)) return;
  if (!node.IsMap()) return problem_at(key, "expected a mapping");
  for (const auto& entry : node) {
    const auto& name = entry.first.Scalar();
    each(name, Fields(entry.second, fmt::format("{}.{}", path_of(key), name), *problems_, strict_));
  }
}

void Fields::refuse(std::initializer_list<std::string_view> keys, std::string_view why) {
  for (auto key : keys) {
    auto node = child(key);
    if (absent(node) || ((node.IsMap() || node.IsSequence()) && node.size() == 0)) continue;
    problem_at(key, std::string(why));
  }
}

void Fields::ignore(std::initializer_list<std::string_view> keys) {
  for (auto key : keys) read_.emplace(key);
}

void Fields::problem(std::string reason) { problems_->push_back({line(), fmt::format("{}: {}", path_, reason)}); }

void Fields::problem_at(std::string_view key, std::string reason) {
  auto node = child(key);
  int at = absent(node) ? line() : node.Mark().line + 1;
  if (node_.IsDefined() && node_.IsMap())
    for (const auto& entry : node_)
      if (entry.first.IsScalar() && entry.first.Scalar() == key) at = entry.first.Mark().line + 1;
  problems_->push_back({at, fmt::format("{}: {}", path_of(key), reason)});
}

}  // namespace pinnace::translator
