// The distributor with real gRPC clients on real sockets.
#include "translator/distribute/distributor.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "envoy/config/bootstrap/v3/bootstrap.pb.h"
#include "envoy/service/discovery/v3/ads.grpc.pb.h"
#include "envoy/service/secret/v3/sds.grpc.pb.h"
#include "google/protobuf/util/json_util.h"
#include "translator/fetch/parse.h"

namespace pinnace::translator {
namespace {

namespace fs = std::filesystem;
using envoy::service::discovery::v3::AggregatedDiscoveryService;
using envoy::service::secret::v3::SecretDiscoveryService;
using Secret = envoy::extensions::transport_sockets::tls::v3::Secret;

constexpr char kMesh[] = R"(
{apiVersion: v1, kind: Service, metadata: {name: a, namespace: ns},
 spec: {clusterIP: 10.0.0.1, selector: {app: a}, ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a-0, namespace: ns, labels: {app: a}},
 spec: {serviceAccountName: sa}, status: {podIP: 10.1.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: bare-0, namespace: ns, annotations: {sidecar.istio.io/inject: "false"}},
 spec: {}, status: {podIP: 10.1.0.9}}
)";

class DistributorTest : public testing::Test {
 protected:
  DistributorTest() {
    directory = fs::path(testing::TempDir()) / ("run-" + std::to_string(getpid()));
    ca = *CertificateAuthority::open((directory / "ca").string(), "cluster.local");
    secrets = std::make_unique<SecretStore>(*ca, "", std::chrono::hours(1));
    tcp = "unix:" + (directory / "tcp").string();  // stands for any address that is no pod's socket
    distributor = std::make_unique<Distributor>(DistributorOptions{directory.string(), tcp, ""}, *secrets);
    publish(kMesh);
    EXPECT_TRUE(distributor->listen());
  }
  ~DistributorTest() override {
    distributor.reset();
    fs::remove_all(directory);
  }
  void publish(const std::string& text) {
    auto parsed = parse_file(text, "mesh.yaml");
    std::vector<const Object*> objects;
    for (auto& object : parsed.objects) objects.push_back(&object);
    distributor->publish(MeshState::build(objects, {}), "test");
  }
  std::shared_ptr<grpc::Channel> dial(const std::string& address) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  }
  std::string socket() const { return "unix:" + (directory / "ns.a-0/socket").string(); }
  static DeltaDiscoveryRequest ask(Type type, const std::string& node, std::vector<std::string> names = {}) {
    DeltaDiscoveryRequest out;
    out.set_type_url(std::string(kTypeUrls[static_cast<size_t>(type)]));
    out.mutable_node()->set_id(node);
    for (auto& name : names) out.add_resource_names_subscribe(name);
    return out;
  }
  // The status a stream ends with when it opens with `first`.
  grpc::Status refused(const std::string& address, const DeltaDiscoveryRequest& first) {
    grpc::ClientContext context;
    auto stream = AggregatedDiscoveryService::NewStub(dial(address))->DeltaAggregatedResources(&context);
    stream->Write(first);
    DeltaDiscoveryResponse response;
    EXPECT_FALSE(stream->Read(&response));
    return stream->Finish();
  }

  fs::path directory;
  std::string tcp;
  std::unique_ptr<CertificateAuthority> ca;
  std::unique_ptr<SecretStore> secrets;
  std::unique_ptr<Distributor> distributor;
  const std::string node = "sidecar~10.1.0.1~a-0.ns~ns.svc.cluster.local";
};

TEST_F(DistributorTest, a_change_reaches_a_connected_proxy_alone) {
  grpc::ClientContext context;
  auto stream = AggregatedDiscoveryService::NewStub(dial(socket()))->DeltaAggregatedResources(&context);
  stream->Write(ask(Type::kCluster, node));
  DeltaDiscoveryResponse clusters, endpoints, pushed;
  ASSERT_TRUE(stream->Read(&clusters));
  EXPECT_GT(clusters.resources_size(), 3);
  stream->Write(ask(Type::kEndpoint, "", {"outbound|80||a.ns.svc.cluster.local"}));
  ASSERT_TRUE(stream->Read(&endpoints));
  auto changed = std::string(kMesh);
  changed.replace(changed.find("10.1.0.1"), 8, "10.1.0.7");
  publish(changed);
  ASSERT_TRUE(stream->Read(&pushed));
  EXPECT_EQ(pushed.type_url(), kTypeUrls[1]);
  EXPECT_EQ(pushed.resources_size(), 1);
  context.TryCancel();
}

TEST_F(DistributorTest, identity_follows_the_socket) {
  grpc::ClientContext context;
  auto stream = SecretDiscoveryService::NewStub(dial(socket()))->StreamSecrets(&context);
  DiscoveryRequest request;
  request.set_type_url(std::string(kTypeUrls[4]));
  request.add_resource_names("default");
  stream->Write(request);
  DiscoveryResponse response;
  ASSERT_TRUE(stream->Read(&response));
  Secret secret;
  ASSERT_TRUE(response.resources(0).UnpackTo(&secret));
  EXPECT_EQ(secret.name(), "default");
  EXPECT_FALSE(secret.tls_certificate().private_key().inline_bytes().empty());
  context.TryCancel();
}

TEST_F(DistributorTest, a_contradicting_claim_is_refused) {
  auto status = refused(socket(), ask(Type::kCluster, "sidecar~10.1.0.9~other-0.ns~ns.svc.cluster.local"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_NE(status.error_message().find("belongs to a-0.ns"), std::string::npos);
}

TEST_F(DistributorTest, no_secret_leaves_by_another_way_than_the_pods_socket) {
  EXPECT_EQ(refused(tcp, ask(Type::kSecret, node, {"default"})).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  grpc::ClientContext context;
  auto stream = SecretDiscoveryService::NewStub(dial(tcp))->StreamSecrets(&context);
  DiscoveryResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(DistributorTest, other_ways_serve_configuration_of_known_pods) {
  EXPECT_EQ(refused(tcp, ask(Type::kCluster, "sidecar~1~none-0.ns~x")).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(refused(tcp, ask(Type::kCluster, "nonsense")).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  grpc::ClientContext context;
  auto stream = AggregatedDiscoveryService::NewStub(dial(tcp))->DeltaAggregatedResources(&context);
  stream->Write(ask(Type::kCluster, node));
  DeltaDiscoveryResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_GT(response.resources_size(), 3);
  context.TryCancel();
}

TEST_F(DistributorTest, each_pod_has_a_socket_and_a_bootstrap_unless_it_has_no_proxy) {
  EXPECT_FALSE(fs::exists(directory / "ns.bare-0"));
  EXPECT_EQ(fs::status(directory / "ns.a-0/socket").permissions() & fs::perms::all, fs::perms(0666));
  std::ifstream in(directory / "ns.a-0/bootstrap.json");
  std::ostringstream text;
  text << in.rdbuf();
  envoy::config::bootstrap::v3::Bootstrap bootstrap;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(text.str(), &bootstrap).ok());
  EXPECT_EQ(bootstrap.node().id(), node);
  EXPECT_EQ(bootstrap.static_resources().listeners_size(), 2);
}

TEST_F(DistributorTest, a_pod_that_goes_takes_its_socket_along) {
  auto text = std::string(kMesh);
  publish(text.substr(0, text.find("---")));
  EXPECT_FALSE(fs::exists(directory / "ns.a-0"));
}

}  // namespace
}  // namespace pinnace::translator
