// The xDS protocol of one stream, delta and state of the world, message by message.
#include "xds_client/subscription.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "envoy/service/discovery/v3/discovery.pb.h"

namespace pinnace::xds {
namespace {

namespace discovery = envoy::service::discovery::v3;
using DeltaRequest = discovery::DeltaDiscoveryRequest;
using Request = discovery::DiscoveryRequest;
using Names = std::vector<std::string>;

constexpr const char* kCds = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
constexpr const char* kEds = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

struct Client : Subscription {
  explicit Client(bool delta) : Subscription(delta, node()) {}
  static envoy::config::core::v3::Node node() {
    envoy::config::core::v3::Node node;
    node.set_id("sidecar~1.2.3.4~a.b~c");
    return node;
  }
  template <class Message>
  std::vector<Message> sent() {
    std::vector<Message> messages;
    for (const auto& text : take_outgoing()) {
      messages.emplace_back();
      EXPECT_TRUE(messages.back().ParseFromString(text));
    }
    return messages;
  }
  // The only message waiting.
  template <class Message>
  Message sent_one() {
    auto messages = sent<Message>();
    EXPECT_EQ(messages.size(), 1u);
    return messages.empty() ? Message() : messages[0];
  }
  Batch deliver(const google::protobuf::Message& response) {
    auto batch = receive(response.SerializeAsString());
    EXPECT_TRUE(batch);
    return batch ? *batch : Batch();
  }
};

template <class Repeated>
Names sorted(const Repeated& repeated) {
  Names names(repeated.begin(), repeated.end());
  std::sort(names.begin(), names.end());
  return names;
}

discovery::DeltaDiscoveryResponse delta_response(const char* type, const char* nonce,
                                                 const std::vector<std::pair<std::string, std::string>>& resources,
                                                 const Names& removed = {}) {
  discovery::DeltaDiscoveryResponse response;
  response.set_type_url(type);
  response.set_nonce(nonce);
  response.set_system_version_info("sys");
  for (const auto& [name, version] : resources) {
    auto* resource = response.add_resources();
    resource->set_name(name);
    resource->set_version(version);
    resource->mutable_resource()->set_type_url(type);
    resource->mutable_resource()->set_value("body of " + name);
  }
  for (const auto& name : removed) response.add_removed_resources(name);
  return response;
}

discovery::DiscoveryResponse sotw_response(const char* type, const char* nonce, const char* version,
                                           int resources = 0) {
  discovery::DiscoveryResponse response;
  response.set_type_url(type);
  response.set_nonce(nonce);
  response.set_version_info(version);
  for (int i = 0; i < resources; i++) response.add_resources()->set_value("body " + std::to_string(i));
  return response;
}

TEST(DeltaSubscriptionTest, sends_nothing_before_the_stream_is_open) {
  Client client(true);
  client.want_all(kCds);
  client.want(kEds, {"a"});
  EXPECT_TRUE(client.take_outgoing().empty());
  client.stream_opened();
  auto sent = client.sent<DeltaRequest>();
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[0].type_url(), kCds) << "in the order they were wanted";
  EXPECT_EQ(sent[0].resource_names_subscribe_size(), 0) << "an empty first subscription is the wildcard";
  EXPECT_EQ(sent[1].type_url(), kEds);
  EXPECT_EQ(sorted(sent[1].resource_names_subscribe()), Names{"a"});
  EXPECT_TRUE(client.take_outgoing().empty()) << "taking empties the queue";
}

TEST(DeltaSubscriptionTest, names_the_node_in_the_first_message_of_a_stream_only) {
  Client client(true);
  client.stream_opened();
  for (int stream = 0; stream < 2; stream++) {
    if (stream == 0) client.want_all(kCds);
    client.want(kEds, {"a", std::to_string(stream)});
    auto sent = client.sent<DeltaRequest>();
    ASSERT_EQ(sent.size(), stream == 0 ? 2u : 1u);
    EXPECT_EQ(sent[0].node().id(), stream == 0 ? "sidecar~1.2.3.4~a.b~c" : "");
    if (stream == 0) {
      EXPECT_FALSE(sent[1].has_node());
    }
    client.stream_closed();
    client.stream_opened();
    sent = client.sent<DeltaRequest>();
    ASSERT_EQ(sent.size(), 2u);
    EXPECT_TRUE(sent[0].has_node());
    EXPECT_FALSE(sent[1].has_node());
  }
}

TEST(DeltaSubscriptionTest, sends_only_what_changed_of_the_names) {
  Client client(true);
  client.stream_opened();
  client.want(kEds, {"a", "b"});
  EXPECT_EQ(sorted(client.sent_one<DeltaRequest>().resource_names_subscribe()), (Names{"a", "b"}));
  client.want(kEds, {"b", "c"});
  auto change = client.sent_one<DeltaRequest>();
  EXPECT_EQ(sorted(change.resource_names_subscribe()), Names{"c"});
  EXPECT_EQ(sorted(change.resource_names_unsubscribe()), Names{"a"});
  EXPECT_EQ(change.response_nonce(), "");
  EXPECT_TRUE(change.initial_resource_versions().empty()) << "only in the first message of a type on a stream";
  client.want(kEds, {"b", "c"});
  EXPECT_TRUE(client.take_outgoing().empty()) << "nothing new";
  client.want(kEds, {});
  EXPECT_EQ(sorted(client.sent_one<DeltaRequest>().resource_names_unsubscribe()), (Names{"b", "c"}));
}

TEST(DeltaSubscriptionTest, hands_on_what_a_response_brought) {
  Client client(true);
  client.want_all(kCds);
  client.stream_opened();
  Batch batch = client.deliver(delta_response(kCds, "n1", {{"a", "1"}, {"b", ""}}, {"c"}));
  EXPECT_EQ(batch.type_url, kCds);
  EXPECT_EQ(batch.nonce, "n1");
  EXPECT_EQ(batch.version, "sys");
  EXPECT_FALSE(batch.complete);
  ASSERT_EQ(batch.resources.size(), 2u);
  EXPECT_EQ(batch.resources[0].name, "a");
  EXPECT_EQ(batch.resources[0].version, "1");
  EXPECT_EQ(batch.resources[0].body.value(), "body of a");
  EXPECT_EQ(batch.removed, Names{"c"});
}

TEST(DeltaSubscriptionTest, acknowledges_by_nonce_and_nothing_else_in_the_message) {
  Client client(true);
  client.want(kEds, {"a"});
  client.stream_opened();
  client.take_outgoing();
  Batch batch = client.deliver(delta_response(kEds, "n1", {{"a", "1"}}));
  client.want(kEds, {"a", "b"});
  client.answer(batch, "");
  client.want(kEds, {"b"});
  auto sent = client.sent<DeltaRequest>();
  ASSERT_EQ(sent.size(), 3u);
  int acks = 0;
  for (const auto& message : sent) {
    bool subscribes = message.resource_names_subscribe_size() + message.resource_names_unsubscribe_size() > 0;
    EXPECT_NE(subscribes, !message.response_nonce().empty()) << "an ACK or a subscription, never both";
    EXPECT_FALSE(message.has_error_detail());
    acks += message.response_nonce() == "n1";
  }
  EXPECT_EQ(acks, 1);
}

TEST(DeltaSubscriptionTest, refuses_with_the_reason) {
  Client client(true);
  client.want_all(kCds);
  client.stream_opened();
  client.take_outgoing();
  client.answer(client.deliver(delta_response(kCds, "n1", {{"a", "1"}})), "a: no good");
  auto nack = client.sent_one<DeltaRequest>();
  EXPECT_EQ(nack.type_url(), kCds);
  EXPECT_EQ(nack.response_nonce(), "n1");
  EXPECT_EQ(nack.error_detail().message(), "a: no good");
  EXPECT_NE(nack.error_detail().code(), 0);
}

TEST(DeltaSubscriptionTest, answers_every_response_with_its_own_nonce) {
  Client client(true);
  client.want_all(kCds);
  client.stream_opened();
  client.take_outgoing();
  Batch first = client.deliver(delta_response(kCds, "n1", {{"a", "1"}}));
  Batch second = client.deliver(delta_response(kCds, "n2", {{"b", "1"}}));
  client.answer(first, "");
  client.answer(second, "bad");
  auto sent = client.sent<DeltaRequest>();
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[0].response_nonce(), "n1");
  EXPECT_FALSE(sent[0].has_error_detail());
  EXPECT_EQ(sent[1].response_nonce(), "n2");
  EXPECT_TRUE(sent[1].has_error_detail());
}

TEST(DeltaSubscriptionTest, tells_a_new_stream_what_is_already_here) {
  Client client(true);
  client.want_all(kCds);
  client.want(kEds, {"e1", "e2"});
  client.stream_opened();
  client.answer(client.deliver(delta_response(kCds, "n1", {{"a", "1"}, {"b", "1"}, {"empty", ""}})), "");
  client.answer(client.deliver(delta_response(kEds, "n2", {{"e1", "7"}, {"e2", "7"}})), "");
  client.answer(client.deliver(delta_response(kCds, "n3", {{"a", "2"}}, {"b"})), "");
  client.want(kEds, {"e2"});
  client.stream_closed();
  client.want(kEds, {"e2", "e3"});
  client.take_outgoing();
  client.stream_opened();
  auto sent = client.sent<DeltaRequest>();
  ASSERT_EQ(sent.size(), 2u);
  auto versions = [](const DeltaRequest& request) {
    return std::map<std::string, std::string>(request.initial_resource_versions().begin(),
                                              request.initial_resource_versions().end());
  };
  EXPECT_EQ(versions(sent[0]), (std::map<std::string, std::string>{{"a", "2"}, {"empty", ""}}));
  EXPECT_EQ(versions(sent[1]), (std::map<std::string, std::string>{{"e2", "7"}})) << "e1 is no longer wanted";
  EXPECT_EQ(sorted(sent[1].resource_names_subscribe()), (Names{"e2", "e3"}));
  for (const auto& message : sent) EXPECT_EQ(message.response_nonce(), "") << "nonces end with their stream";
}

TEST(DeltaSubscriptionTest, does_not_acknowledge_on_a_stream_what_came_on_another) {
  Client client(true);
  client.want_all(kCds);
  client.stream_opened();
  Batch batch = client.deliver(delta_response(kCds, "n1", {{"a", "1"}}));
  client.stream_closed();
  client.take_outgoing();
  client.answer(batch, "");
  EXPECT_TRUE(client.take_outgoing().empty()) << "no stream";
  client.stream_opened();
  client.take_outgoing();
  client.answer(batch, "");
  for (const auto& message : client.sent<DeltaRequest>()) EXPECT_NE(message.response_nonce(), "n1") << "a stale nonce";
}

TEST(DeltaSubscriptionTest, wanting_all_twice_asks_once) {
  Client client(true);
  client.stream_opened();
  client.want_all(kCds);
  client.want_all(kCds);
  EXPECT_EQ(client.sent<DeltaRequest>().size(), 1u);
}

TEST(DeltaSubscriptionTest, does_not_ask_with_an_empty_list_for_names_it_has_none_of) {
  Client client(true);
  client.stream_opened();
  client.want(kEds, {});
  EXPECT_TRUE(client.take_outgoing().empty()) << "an empty first subscription would mean everything";
  client.want(kEds, {"a"});
  client.want(kEds, {});
  client.take_outgoing();
  client.stream_closed();
  client.stream_opened();
  EXPECT_TRUE(client.take_outgoing().empty());
}

TEST(DeltaSubscriptionTest, reports_what_it_cannot_use) {
  Client client(true);
  client.want_all(kCds);
  client.stream_opened();
  EXPECT_FALSE(client.receive("\xff\xff\xff"));
  auto other = client.receive(delta_response(kEds, "n", {{"a", "1"}}).SerializeAsString());
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().message.find(kEds), std::string::npos);
}

TEST(SotwSubscriptionTest, names_everything_each_time_and_the_node_once) {
  Client client(false);
  client.stream_opened();
  client.want(kEds, {"b", "a"});
  auto first = client.sent_one<Request>();
  EXPECT_TRUE(first.has_node());
  EXPECT_EQ(sorted(first.resource_names()), (Names{"a", "b"}));
  EXPECT_EQ(first.version_info() + first.response_nonce(), "");
  client.want(kEds, {"a", "b", "c"});
  auto second = client.sent_one<Request>();
  EXPECT_FALSE(second.has_node());
  EXPECT_EQ(sorted(second.resource_names()), (Names{"a", "b", "c"}));
}

TEST(SotwSubscriptionTest, acknowledges_with_version_and_nonce) {
  Client client(false);
  client.want_all(kCds);
  client.stream_opened();
  client.take_outgoing();
  Batch batch = client.deliver(sotw_response(kCds, "n1", "v1", 2));
  EXPECT_EQ(batch.resources.size(), 2u);
  EXPECT_EQ(batch.version, "v1");
  EXPECT_TRUE(batch.complete) << "what is not named is gone";
  client.answer(batch, "");
  auto ack = client.sent_one<Request>();
  EXPECT_EQ(ack.version_info(), "v1");
  EXPECT_EQ(ack.response_nonce(), "n1");
  EXPECT_FALSE(ack.has_error_detail());
}

TEST(SotwSubscriptionTest, refuses_with_the_last_good_version_and_the_new_nonce) {
  Client client(false);
  client.want_all(kCds);
  client.stream_opened();
  client.answer(client.deliver(sotw_response(kCds, "n1", "v1")), "");
  client.take_outgoing();
  client.answer(client.deliver(sotw_response(kCds, "n2", "v2")), "no good");
  auto nack = client.sent_one<Request>();
  EXPECT_EQ(nack.version_info(), "v1");
  EXPECT_EQ(nack.response_nonce(), "n2");
  EXPECT_EQ(nack.error_detail().message(), "no good");
  client.answer(client.deliver(sotw_response(kCds, "n3", "v3")), "");
  auto ack = client.sent_one<Request>();
  EXPECT_EQ(ack.version_info(), "v3");
  EXPECT_FALSE(ack.has_error_detail());
}

TEST(SotwSubscriptionTest, changes_names_with_the_accepted_version_and_last_nonce) {
  Client client(false);
  client.want(kEds, {"a"});
  client.stream_opened();
  Batch batch = client.deliver(sotw_response(kEds, "n1", "v1", 1));
  EXPECT_FALSE(batch.complete);
  client.answer(batch, "");
  client.take_outgoing();
  client.want(kEds, {"a", "b"});
  auto change = client.sent_one<Request>();
  EXPECT_EQ(change.version_info(), "v1");
  EXPECT_EQ(change.response_nonce(), "n1");
}

TEST(SotwSubscriptionTest, ignores_the_answer_to_a_response_that_a_newer_one_has_overtaken) {
  Client client(false);
  client.want_all(kCds);
  client.stream_opened();
  client.take_outgoing();
  Batch first = client.deliver(sotw_response(kCds, "n1", "v1"));
  Batch second = client.deliver(sotw_response(kCds, "n2", "v2"));
  client.answer(first, "");
  client.answer(second, "");
  auto sent = client.sent<Request>();
  ASSERT_FALSE(sent.empty());
  EXPECT_EQ(sent.back().response_nonce(), "n2");
  EXPECT_EQ(sent.back().version_info(), "v2");
}

TEST(SotwSubscriptionTest, a_new_stream_keeps_the_version_and_forgets_the_nonce) {
  Client client(false);
  client.want_all(kCds);
  client.want(kEds, {"a"});
  client.stream_opened();
  client.answer(client.deliver(sotw_response(kCds, "n1", "v1")), "");
  Batch late = client.deliver(sotw_response(kCds, "n2", "v2"));
  client.stream_closed();
  client.stream_opened();
  auto sent = client.sent<Request>();
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_TRUE(sent[0].has_node());
  EXPECT_EQ(sent[0].version_info(), "v1");
  EXPECT_EQ(sent[0].response_nonce(), "");
  EXPECT_FALSE(sent[1].has_node());
  EXPECT_EQ(sorted(sent[1].resource_names()), Names{"a"});
  client.answer(late, "");
  for (const auto& message : client.sent<Request>()) EXPECT_NE(message.response_nonce(), "n2") << "a stale nonce";
}

}  // namespace
}  // namespace pinnace::xds
