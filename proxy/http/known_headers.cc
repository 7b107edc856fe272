#include "proxy/http/known_headers.h"

#include <array>

namespace pinnace::http {
namespace {

constexpr std::array<std::string_view, kHeaderIdCount> kNames = {"",
#define X(id, name) name,
                                                                 PINNACE_KNOWN_HEADERS(X)
#undef X
};

constexpr size_t kSlots = 512;

constexpr size_t slot(std::string_view name) {
  size_t n = name.size();
  auto at = [&](size_t i) { return static_cast<unsigned char>(name[i]); };
  return (n * 37 + at(0) * 5 + at(n - 1) * 11 + at(n / 2) * 3 + at(n * 3 / 4) * 17) % kSlots;
}

// Open addressing, filled at compile time.
constexpr auto kTable = [] {
  std::array<uint8_t, kSlots> table{};
  for (size_t id = 1; id < kHeaderIdCount; id++) {
    size_t at = slot(kNames[id]);
    while (table[at] != 0) at = (at + 1) % kSlots;
    table[at] = static_cast<uint8_t>(id);
  }
  return table;
}();

}  // namespace

HeaderId header_id(std::string_view name) {
  if (name.empty()) return HeaderId::kOther;
  for (size_t at = slot(name); kTable[at] != 0; at = (at + 1) % kSlots) {
    if (kNames[kTable[at]] == name) return static_cast<HeaderId>(kTable[at]);
  }
  return HeaderId::kOther;
}

std::string_view header_name(HeaderId id) { return kNames[static_cast<size_t>(id)]; }

}  // namespace pinnace::http
