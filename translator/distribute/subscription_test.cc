#include "translator/distribute/subscription.h"

#include <gtest/gtest.h>

namespace pinnace::translator {
namespace {

const std::string kCds(kTypeUrls[0]), kEds(kTypeUrls[1]), kLds(kTypeUrls[2]), kRds(kTypeUrls[3]), kSds(kTypeUrls[4]);

struct Mesh {
  ResourceSet set;
  std::map<std::string, std::string> secrets;
  void put(Type type, const std::string& name, const std::string& content) {
    set[static_cast<size_t>(type)][name] = make_resource(content);
  }
  void drop(Type type, const std::string& name) { set[static_cast<size_t>(type)].erase(name); }
  View view() const {
    return {std::make_shared<ResourceSet>(set), [this](const std::string& name) -> std::optional<Resource> {
              auto found = secrets.find(name);
              if (found == secrets.end()) return std::nullopt;
              return make_resource(found->second);
            }};
  }
};

std::vector<std::string> names(const DeltaDiscoveryResponse& response) {
  std::vector<std::string> out;
  for (auto& one : response.resources()) out.push_back(one.name());
  return out;
}

DeltaDiscoveryRequest ask(const std::string& url, std::vector<std::string> subscribe = {}) {
  DeltaDiscoveryRequest out;
  out.set_type_url(url);
  for (auto& name : subscribe) out.add_resource_names_subscribe(name);
  return out;
}

class DeltaTest : public testing::Test {
 protected:
  DeltaTest() {
    mesh.put(Type::kCluster, "a", "cluster a");
    mesh.put(Type::kEndpoint, "a", "endpoints a");
    mesh.put(Type::kListener, "l", "listener");
    mesh.put(Type::kRoute, "r", "routes");
  }
  std::vector<DeltaDiscoveryResponse> request(const DeltaDiscoveryRequest& request) {
    std::vector<DeltaDiscoveryResponse> out;
    nack = stream.on_request(request, mesh.view(), now, out);
    return out;
  }
  std::vector<DeltaDiscoveryResponse> ack(const DeltaDiscoveryResponse& response) {
    auto out = ask(response.type_url());
    out.set_response_nonce(response.nonce());
    return request(out);
  }
  std::vector<DeltaDiscoveryResponse> update() {
    std::vector<DeltaDiscoveryResponse> out;
    stream.on_update(mesh.view(), now, out);
    return out;
  }
  // Subscribes to everything and acknowledges it.
  void connect() {
    for (auto& first : {ask(kCds), ask(kEds, {"a"}), ask(kLds), ask(kRds, {"r"})})
      for (auto& response : request(first)) ack(response);
  }

  Mesh mesh;
  DeltaStream stream{false};
  std::optional<Nack> nack;
  SteadyTime now{std::chrono::seconds(1000)};
};

TEST_F(DeltaTest, wildcard_gets_all_and_names_get_theirs) {
  auto clusters = request(ask(kCds));
  ASSERT_EQ(clusters.size(), 1u);
  EXPECT_EQ(names(clusters[0]), (std::vector<std::string>{"a"}));
  auto endpoints = request(ask(kEds, {"a", "unknown"}));
  ASSERT_EQ(endpoints.size(), 1u);
  EXPECT_EQ(names(endpoints[0]), (std::vector<std::string>{"a", "unknown"}));
  EXPECT_FALSE(endpoints[0].resources(1).resource().value().empty());
}

TEST_F(DeltaTest, missing_secret_gets_no_answer_until_it_comes) {
  EXPECT_TRUE(request(ask(kSds, {"default"})).empty());
  mesh.secrets["default"] = "identity";
  auto pushed = update();
  ASSERT_EQ(pushed.size(), 1u);
  EXPECT_EQ(names(pushed[0]), (std::vector<std::string>{"default"}));
}

TEST_F(DeltaTest, acknowledgement_gets_nothing_and_nack_is_reported) {
  auto response = request(ask(kCds))[0];
  auto bad = ask(kCds);
  bad.set_response_nonce(response.nonce());
  bad.mutable_error_detail()->set_message("no");
  EXPECT_TRUE(request(bad).empty());
  ASSERT_TRUE(nack);
  EXPECT_EQ(nack->message, "no");
  EXPECT_TRUE(update().empty()) << "not sent again until it changes";
}

TEST_F(DeltaTest, update_sends_only_what_changed) {
  connect();
  EXPECT_TRUE(update().empty());
  mesh.put(Type::kRoute, "r", "other routes");
  auto pushed = update();
  ASSERT_EQ(pushed.size(), 1u);
  EXPECT_EQ(pushed[0].type_url(), kRds);
}

TEST_F(DeltaTest, changed_cluster_gets_its_endpoints_again) {
  connect();
  mesh.put(Type::kCluster, "a", "cluster a, changed");
  auto pushed = update();
  ASSERT_EQ(pushed.size(), 2u);
  EXPECT_EQ(pushed[0].type_url(), kCds);
  EXPECT_EQ(pushed[1].type_url(), kEds);
}

TEST_F(DeltaTest, routes_wait_for_the_endpoints_of_a_new_cluster) {
  connect();
  mesh.put(Type::kCluster, "b", "cluster b");
  mesh.put(Type::kEndpoint, "b", "endpoints b");
  mesh.put(Type::kRoute, "r", "routes to b");
  auto pushed = update();
  ASSERT_EQ(pushed.size(), 1u);
  EXPECT_TRUE(ack(pushed[0]).empty());
  auto endpoints = request(ask(kEds, {"b"}));
  ASSERT_EQ(endpoints.size(), 1u);
  auto routes = ack(endpoints[0]);
  ASSERT_EQ(routes.size(), 1u);
  EXPECT_EQ(routes[0].type_url(), kRds);
}

TEST_F(DeltaTest, routes_do_not_wait_for_ever) {
  connect();
  mesh.put(Type::kCluster, "b", "cluster b");
  mesh.put(Type::kRoute, "r", "routes to b");
  EXPECT_EQ(update().size(), 1u);
  now += DeltaStream::kMaxHold;
  std::vector<DeltaDiscoveryResponse> out;
  stream.on_tick(mesh.view(), now, out);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].type_url(), kRds);
}

TEST_F(DeltaTest, cluster_leaves_after_the_routes_to_it) {
  connect();
  mesh.drop(Type::kCluster, "a");
  mesh.drop(Type::kEndpoint, "a");
  mesh.put(Type::kRoute, "r", "routes elsewhere");
  auto pushed = update();
  ASSERT_EQ(pushed.size(), 1u) << "no empty endpoints while routes still lead there";
  EXPECT_EQ(pushed[0].type_url(), kRds);
  auto removal = ack(pushed[0]);
  ASSERT_EQ(removal.size(), 1u);
  EXPECT_EQ(removal[0].removed_resources(0), "a");
}

TEST_F(DeltaTest, reconnect_skips_what_is_known_and_reports_removals) {
  auto again = ask(kCds);
  (*again.mutable_initial_resource_versions())["a"] = make_resource("cluster a").version;
  (*again.mutable_initial_resource_versions())["gone"] = "1";
  auto first = request(again);
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(first[0].resources_size(), 0);
  ack(first[0]);
  auto endpoints = ask(kEds, {"a"});
  (*endpoints.mutable_initial_resource_versions())["a"] = make_resource("endpoints a").version;
  EXPECT_TRUE(request(endpoints).empty());
  for (auto& response : request(ask(kLds))) ack(response);
  std::vector<DeltaDiscoveryResponse> removal;
  for (auto& response : request(ask(kRds, {"r"}))) removal = ack(response);
  ASSERT_EQ(removal.size(), 1u);
  EXPECT_EQ(removal[0].removed_resources(0), "gone");
}

TEST(SecretsOnly, answers_nothing_else) {
  Mesh mesh;
  mesh.put(Type::kCluster, "a", "cluster");
  DeltaStream stream(true);
  std::vector<DeltaDiscoveryResponse> out;
  stream.on_request(ask(kCds), mesh.view(), {}, out);
  EXPECT_TRUE(out.empty());
}

DiscoveryRequest sotw(const std::string& url, std::vector<std::string> subscribe, const std::string& nonce = "") {
  DiscoveryRequest out;
  out.set_type_url(url);
  out.set_response_nonce(nonce);
  for (auto& name : subscribe) out.add_resource_names(name);
  return out;
}

TEST(Sotw, sends_whole_wildcards_and_changed_names) {
  Mesh mesh;
  mesh.put(Type::kCluster, "a", "cluster a");
  mesh.put(Type::kCluster, "b", "cluster b");
  mesh.put(Type::kRoute, "r", "routes r");
  mesh.put(Type::kRoute, "s", "routes s");
  SotwStream stream(false);
  std::vector<DiscoveryResponse> out;
  auto ask = [&](const DiscoveryRequest& request) {
    out.clear();
    stream.on_request(request, mesh.view(), {}, out);
  };
  ask(sotw(kCds, {}));
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].resources_size(), 2);
  ask(sotw(kCds, {}, out[0].nonce()));
  EXPECT_TRUE(out.empty()) << "an ACK";
  ask(sotw(kRds, {"r"}));
  ASSERT_EQ(out.size(), 1u);
  ask(sotw(kRds, {"r", "s"}, out[0].nonce()));
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].resources_size(), 1) << "only the new name";

  ask(sotw(kRds, {"r", "s"}, out[0].nonce()));

  out.clear();
  mesh.put(Type::kRoute, "r", "routes r, changed");
  stream.on_update(mesh.view(), {}, out);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].resources_size(), 1) << "the changed table alone";
}

TEST(Sotw, a_new_cluster_comes_before_the_routes_and_an_old_one_leaves_after) {
  Mesh mesh;
  for (auto name : {"a", "b"}) {
    mesh.put(Type::kCluster, name, std::string("cluster ") + name);
    mesh.put(Type::kEndpoint, name, std::string("endpoints ") + name);
  }
  mesh.put(Type::kListener, "l", "listener");
  mesh.put(Type::kRoute, "r", "routes to b");
  SotwStream stream(false);
  std::vector<DiscoveryResponse> out;
  std::map<std::string, std::string> nonces;
  auto ask = [&](const std::string& url, std::vector<std::string> names) {
    out.clear();
    stream.on_request(sotw(url, names, nonces[url]), mesh.view(), SteadyTime(std::chrono::seconds(1)), out);
    for (auto& response : out) nonces[response.type_url()] = response.nonce();
  };
  auto connect = [&](const std::string& url, std::vector<std::string> names) {
    ask(url, names);
    ask(url, names);
  };
  connect(kCds, {});
  connect(kEds, {"a", "b"});
  connect(kLds, {});
  connect(kRds, {"r"});

  mesh.drop(Type::kCluster, "b");
  mesh.drop(Type::kEndpoint, "b");
  mesh.put(Type::kCluster, "c", "cluster c");
  mesh.put(Type::kEndpoint, "c", "endpoints c");
  mesh.put(Type::kRoute, "r", "routes to c");
  out.clear();
  stream.on_update(mesh.view(), SteadyTime(std::chrono::seconds(2)), out);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].resources_size(), 3) << "a, c, and b still";
  nonces[kCds] = out[0].nonce();
  ask(kCds, {});
  EXPECT_TRUE(out.empty());
  ask(kEds, {"a", "b", "c"});
  ASSERT_EQ(out.size(), 1u);
  ask(kEds, {"a", "b", "c"});
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].type_url(), kRds);
  ask(kRds, {"r"});
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].resources_size(), 2) << "b has left";
}

TEST(Sotw, stale_nonce_is_ignored) {
  Mesh mesh;
  mesh.put(Type::kRoute, "r", "routes");
  mesh.put(Type::kRoute, "s", "routes");
  SotwStream stream(false);
  std::vector<DiscoveryResponse> out;
  stream.on_request(sotw(kRds, {"r"}), mesh.view(), {}, out);
  out.clear();
  stream.on_request(sotw(kRds, {"r", "s"}, "not this one"), mesh.view(), {}, out);
  EXPECT_TRUE(out.empty());
}

}  // namespace
}  // namespace pinnace::translator
