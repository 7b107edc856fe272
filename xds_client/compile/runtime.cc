#include "xds_client/compile/runtime.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "proxy/base/log.h"
#include "xds_client/compile/config_source.h"

namespace pinnace::compile {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

constexpr uint64_t kMillion = 1000000;

bool is_fraction(const Value& value) {
  return value.kind_case() == Value::kStructValue &&
         (value.struct_value().fields().contains("numerator") || value.struct_value().fields().contains("denominator"));
}

void flatten(const Struct& from, const std::string& prefix, std::map<std::string, Value>& to, int depth) {
  for (const auto& [name, value] : from.fields()) {
    std::string key = prefix + name;
    if (value.kind_case() == Value::kStructValue && !is_fraction(value)) {
      if (depth > 0) flatten(value.struct_value(), key + ".", to, depth - 1);
    } else {
      to[key] = value;
    }
  }
}

uint32_t millionths(uint64_t numerator, uint64_t scale) {
  return static_cast<uint32_t>(std::min(kMillion, std::min(kMillion, numerator) * scale));
}

uint32_t millionths(const envoy::type::v3::FractionalPercent& fraction) {
  using Percent = envoy::type::v3::FractionalPercent;
  uint64_t scale = 1;
  if (fraction.denominator() == Percent::HUNDRED) scale = 10000;
  if (fraction.denominator() == Percent::TEN_THOUSAND) scale = 100;
  return millionths(fraction.numerator(), scale);
}

std::optional<uint64_t> number_of(const Value& value) {
  if (value.kind_case() == Value::kNumberValue) {
    double number = value.number_value();
    if (!(number >= 0) || number >= 1.8e19 || std::floor(number) != number) return std::nullopt;
    return static_cast<uint64_t>(number);
  }
  if (value.kind_case() != Value::kStringValue) return std::nullopt;
  const std::string& text = value.string_value();
  uint64_t number = 0;
  auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

Result<bool> Runtime::load(const envoy::config::bootstrap::v3::LayeredRuntime& proto) {
  for (const auto& layer : proto.layers()) {
    Layer added;
    added.name = layer.name();
    if (layer.has_static_layer()) {
      flatten(layer.static_layer(), "", added.values, 16);
    } else if (layer.has_rtds_layer()) {
      const auto& rtds = layer.rtds_layer();
      auto source = config_source(rtds.rtds_config());
      if (!source) return error("layers[" + layer.name() + "].rtds_layer.rtds_config: " + source.error().message);
      added.rtds = true;
      added.name = rtds.name();
      uint64_t timeout = compile::fetch_timeout_ms(rtds.rtds_config());
      bool ever = timeout == 0 || (!wanted_.empty() && fetch_timeout_ms_ == 0);
      fetch_timeout_ms_ = ever ? 0 : std::max(fetch_timeout_ms_, timeout);
      wanted_.insert({std::move(*source), rtds.name()});
    } else if (layer.has_disk_layer()) {
      return error("layers[" + layer.name() + "].disk_layer: not supported by pinnace");
    }
    layers_.push_back(std::move(added));
  }
  return true;
}

const Value* Runtime::find(const std::string& key) const {
  for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer) {
    auto found = layer->values.find(key);
    if (found != layer->values.end()) return &found->second;
  }
  return nullptr;
}

std::optional<std::string> Runtime::text(const std::string& key) const {
  std::lock_guard lock(mutex_);
  const Value* value = find(key);
  if (!value) return std::nullopt;
  switch (value->kind_case()) {
    case Value::kBoolValue: return value->bool_value() ? "true" : "false";
    case Value::kNumberValue: return fmt::format("{}", value->number_value());
    case Value::kStringValue: return value->string_value();
    default: return std::nullopt;
  }
}

std::optional<uint64_t> Runtime::number(const std::string& key) const {
  std::lock_guard lock(mutex_);
  const Value* value = find(key);
  return value ? number_of(*value) : std::nullopt;
}

std::optional<bool> Runtime::boolean(const std::string& key) const {
  auto value = text(key);
  if (value == "true") return true;
  if (value == "false") return false;
  return std::nullopt;
}

// ENVOY: a plain number is of a hundred.
uint32_t Runtime::fraction_now(const std::string& key, uint32_t otherwise) const {
  const Value* value = find(key);
  if (!value) return otherwise;
  if (auto number = number_of(*value)) return millionths(*number, kMillion / 100);
  if (!is_fraction(*value)) return otherwise;
  const auto& fields = value->struct_value().fields();
  envoy::type::v3::FractionalPercent fraction;
  auto numerator = fields.find("numerator");
  if (numerator != fields.end())
    fraction.set_numerator(static_cast<uint32_t>(number_of(numerator->second).value_or(0)));
  auto denominator = fields.find("denominator");
  if (denominator != fields.end()) {
    envoy::type::v3::FractionalPercent::DenominatorType type;
    if (!envoy::type::v3::FractionalPercent::DenominatorType_Parse(denominator->second.string_value(), &type)) {
      return otherwise;
    }
    fraction.set_denominator(type);
  }
  return millionths(fraction);
}

FractionCell Runtime::fraction(const std::string& key, const envoy::type::v3::FractionalPercent& otherwise) {
  std::lock_guard lock(mutex_);
  uint32_t fallback = millionths(otherwise);
  auto same = std::find_if(followed_.begin(), followed_.end(), [&](const Followed& followed) {
    return followed.key == key && followed.otherwise == fallback;
  });
  if (same != followed_.end()) return same->cell;
  auto cell = std::make_shared<std::atomic<uint32_t>>(key.empty() ? fallback : fraction_now(key, fallback));
  // What nobody holds any more is forgotten here, so that a control plane's churn does not pile up.
  std::erase_if(followed_, [](const Followed& followed) { return followed.cell.use_count() == 1; });
  followed_.push_back({cell, key, fallback});
  return cell;
}

bool Runtime::set_layer(const std::string& name, const Struct& values) {
  std::lock_guard lock(mutex_);
  bool known = false;
  for (auto& layer : layers_) {
    if (!layer.rtds || layer.name != name) continue;
    known = true;
    layer.values.clear();
    flatten(values, "", layer.values, 16);
  }
  for (const auto& followed : followed_) {
    if (!followed.key.empty()) *followed.cell = fraction_now(followed.key, followed.otherwise);
  }
  return known;
}

std::vector<Runtime::Layer> Runtime::layers() const {
  std::lock_guard lock(mutex_);
  return layers_;
}

}  // namespace pinnace::compile
