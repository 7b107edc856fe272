// Tables for a terminal: aligned columns, bold heads where stdout is one.
#pragma once

#include <string>
#include <vector>

namespace pinnace::ctl {

using Row = std::vector<std::string>;

void print_table(const Row& heads, const std::vector<Row>& rows);

}  // namespace pinnace::ctl
