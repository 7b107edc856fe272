// Our translation against what a real istiod pushed for the same YAML, resource by resource.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "translator/captured_test_support.h"

namespace pinnace::translator {
namespace {

using captured::normal_form;

// Differences we want, each with its reason. Matched by type and resource name; none may go unused.
struct Intended {
  const char* type;
  const char* name;
  const char* reason;
};
const std::vector<Intended> kIntended = {};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

// The first lines that differ, enough to see why.
std::string difference(const std::string& istiod, const std::string& ours) {
  auto a = lines_of(istiod), b = lines_of(ours);
  size_t i = 0;
  while (i < std::min(a.size(), b.size()) && a[i] == b[i]) i++;
  std::string out;
  for (size_t k = i > 4 ? i - 4 : 0; k < std::min(i + 6, a.size()); k++) out += "  istiod: " + a[k] + "\n";
  for (size_t k = i; k < std::min(i + 6, b.size()); k++) out += "  ours:   " + b[k] + "\n";
  return out;
}

void compare(const std::string& scenario, const std::string& capture) {
  SCOPED_TRACE(scenario + "/" + capture);
  bool refused = scenario == "canary";
  auto state = refused ? captured::load_mesh(scenario, captured::without_refused) : captured::load_mesh(scenario);
  auto* pod = captured::pod_of(*state, capture);
  ASSERT_NE(pod, nullptr);
  auto ours = translate(*state, proxy_facts(*state, *pod));
  int same = 0, different = 0;
  for (auto type : {Type::kCluster, Type::kEndpoint, Type::kListener, Type::kRoute}) {
    std::string kind(kTypeNames[static_cast<size_t>(type)]);
    auto theirs = captured::load_capture(scenario, capture, type);
    auto& set = (*ours)[static_cast<size_t>(type)];
    for (auto& [name, bytes] : theirs) {
      auto found = set.find(name);
      bool intended = std::any_of(kIntended.begin(), kIntended.end(),
                                  [&](auto& one) { return kind == one.type && name == one.name; });
      if (found == set.end()) {
        different++;
        ADD_FAILURE() << kind << " " << name << ": missing";
        continue;
      }
      auto a = normal_form(type, bytes, refused), b = normal_form(type, found->second.bytes, refused);
      same += a == b;
      if (a == b || intended) continue;
      different++;
      ADD_FAILURE() << kind << " " << name << ":\n" << difference(a, b);
    }
    for (auto& [name, resource] : set)
      if (!theirs.contains(name)) {
        different++;
        ADD_FAILURE() << kind << " " << name << ": istiod has none";
      }
  }
  std::cout << scenario << "/" << capture << ": " << same << " resources the same, " << different << " different\n";
}

class Captured : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(Captured, agrees_with_istiod) {
  if (captured::folder().empty()) {
    if (std::getenv("CI")) FAIL() << "the captures are not there (PINNACE_SHARED)";
    GTEST_SKIP() << "no captures";
  }
  compare(GetParam().first, GetParam().second);
}

INSTANTIATE_TEST_SUITE_P(istiod, Captured,
                         testing::Values(std::pair{"canary", "productpage-v1-0"}, std::pair{"canary", "reviews-v2-0"},
                                         std::pair{"canary", "echo-v1-0"}, std::pair{"plain", "productpage-v1-0"},
                                         std::pair{"plain", "reviews-v2-0"}, std::pair{"plain", "echo-v1-0"},
                                         std::pair{"ingress", "productpage-v1-0"}, std::pair{"ingress", "reviews-v2-0"},
                                         std::pair{"ingress", "echo-v1-0"},
                                         std::pair{"ingress", "istio-ingressgateway"},
                                         std::pair{"egress", "productpage-v1-0"}, std::pair{"egress", "reviews-v2-0"},
                                         std::pair{"egress", "echo-v1-0"}, std::pair{"egress", "istio-egressgateway"}));

}  // namespace
}  // namespace pinnace::translator
