#include "pinnacectl/tables.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

namespace pinnace::ctl {

void print_table(const Row& heads, const std::vector<Row>& rows) {
  std::vector<size_t> widths;
  for (const auto& head : heads) widths.push_back(head.size());
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size() && i < widths.size(); i++) widths[i] = std::max(widths[i], row[i].size());
  }
  auto line = [&](const Row& row) {
    std::string out;
    for (size_t i = 0; i < heads.size(); i++) {
      const std::string cell = i < row.size() ? row[i] : "";
      out += i + 1 < heads.size() ? fmt::format("{:<{}}  ", cell, widths[i]) : cell;
    }
    return out;
  };
  bool terminal = isatty(STDOUT_FILENO) != 0;
  fmt::print("{}{}{}\n", terminal ? "\033[1m" : "", line(heads), terminal ? "\033[0m" : "");
  for (const auto& row : rows) fmt::print("{}\n", line(row));
}

}  // namespace pinnace::ctl
