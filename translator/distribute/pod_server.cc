#include "translator/distribute/pod_server.h"

#include <fmt/format.h>

#include <chrono>
#include <deque>
#include <type_traits>

#include "envoy/service/discovery/v3/ads.grpc.pb.h"
#include "envoy/service/secret/v3/sds.grpc.pb.h"
#include "proxy/base/log.h"
#include "translator/distribute/distributor.h"
#include "translator/translate/proxy_facts.h"

namespace pinnace::translator {
namespace {

namespace discovery = envoy::service::discovery::v3;
namespace secret = envoy::service::secret::v3;

std::string describe(const DeltaDiscoveryResponse& response) {
  auto out = fmt::format("{} resources", response.resources_size());
  for (int i = 0; i < response.resources_size() && i < 3; i++) out += " " + response.resources(i).name();
  if (response.resources_size() > 3) out += " ...";
  if (response.removed_resources_size() > 0) out += fmt::format(", {} removed", response.removed_resources_size());
  return out;
}

std::string describe(const DiscoveryResponse& response) {
  return fmt::format("{} resources", response.resources_size());
}

// One stream. The protocol is in State (DeltaStream or SotwStream); this moves messages.
template <class Request, class Response, class State>
class Stream final : public grpc::ServerBidiReactor<Request, Response>, public ProxyStream {
 public:
  Stream(Distributor& distributor, Caller caller, bool secrets_only)
      : distributor_(distributor),
        caller_(std::move(caller)),
        tcp_(!caller_.by_socket()),
        secrets_only_(secrets_only),
        state_(secrets_only) {
    std::lock_guard guard(distributor_.lock());
    distributor_.add(this);
    if (tcp_ && secrets_only_)
      finish({grpc::StatusCode::PERMISSION_DENIED, "identities are given out only on a pod's own socket"});
    else this->StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    std::lock_guard guard(distributor_.lock());
    if (finished_) return;
    if (!ok) return finish(grpc::Status::OK);
    if (!identified_) {
      auto status = identify();
      if (!status.ok()) return finish(status);
    }
    if (tcp_ && type_of(request_.type_url()) == Type::kSecret)
      return finish({grpc::StatusCode::PERMISSION_DENIED, "secrets are given out only on a pod's own socket"});
    started_ = std::chrono::steady_clock::now();
    auto nack = state_.on_request(request_, view(), started_, out_);
    if (nack)
      PN_LOG(kWarning, "ads", "nack: {}, {}: {}", name(), kTypeNames[static_cast<size_t>(nack->type)], nack->message);
    else if (!request_.response_nonce().empty()) PN_LOG(kDebug, "ads", "ack: {}, {}", name(), request_.type_url());
    flush();
    this->StartRead(&request_);
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard guard(distributor_.lock());
    writing_ = false;
    if (!queue_.empty()) queue_.pop_front();
    if (!ok || finished_) return;
    flush();
  }

  void OnCancel() override {
    std::lock_guard guard(distributor_.lock());
    if (!finished_) finish(grpc::Status::CANCELLED);
  }

  void OnDone() override {
    {
      std::lock_guard guard(distributor_.lock());
      distributor_.remove(this);
      if (identified_) PN_LOG(kInfo, "ads", "gone: {}", name());
    }
    delete this;
  }

  void update() override {
    if (finished_ || !identified_) return;
    update_due_ = true;  // a slow reader gets the newest state once, not every step to it
    flush();
  }

  void tick() override {
    if (finished_ || !identified_ || writing_) return;
    started_ = std::chrono::steady_clock::now();
    state_.on_tick(view(), started_, out_);
    flush();
  }

 private:
  std::string name() const {
    return fmt::format("{}.{}{}", caller_.pod, caller_.ns, secrets_only_ ? " sds" : tcp_ ? " tcp" : "");
  }
  View view() { return distributor_.view(caller_.pod, caller_.ns, router_, !tcp_); }

  // The socket says who calls; a node id that says otherwise is a mistake in somebody's set-up, and told so.
  grpc::Status identify() {
    auto& id = request_.node().id();
    auto node = parse_node_id(id);
    if (caller_.by_socket()) {
      if (!id.empty() && node && (node->pod != caller_.pod || node->ns != caller_.ns))
        return {grpc::StatusCode::PERMISSION_DENIED,
                fmt::format("this socket belongs to {}.{}; the node id claims {}.{}", caller_.pod, caller_.ns,
                            node->pod, node->ns)};
      if (!id.empty() && !node) return {grpc::StatusCode::INVALID_ARGUMENT, node.error().message};
      if (id.empty() && !secrets_only_)
        return {grpc::StatusCode::INVALID_ARGUMENT, "the first request must carry node.id"};
    } else {
      if (!node) return {grpc::StatusCode::INVALID_ARGUMENT, node.error().message};
      if (!distributor_.knows(node->pod, node->ns))
        return {grpc::StatusCode::NOT_FOUND, fmt::format("no pod {}.{}", node->pod, node->ns)};
      caller_.pod = node->pod;
      caller_.ns = node->ns;
    }
    router_ = node && node->router;
    identified_ = true;
    PN_LOG(kInfo, "ads", "connected: {} ({})", name(),
           std::is_same_v<State, DeltaStream> ? "delta" : "state of the world");
    return grpc::Status::OK;
  }

  void flush() {
    if (!writing_ && out_.empty() && std::exchange(update_due_, false)) {
      started_ = std::chrono::steady_clock::now();
      state_.on_update(view(), started_, out_);
    }
    for (auto& response : out_) {
      auto took = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - started_).count();
      auto type = type_of(response.type_url());
      PN_LOG(kInfo, "ads", "push: {} to {}: {}, {} bytes, {:.1f} ms",
             type ? kTypeNames[static_cast<size_t>(*type)] : "?", name(), describe(response), response.ByteSizeLong(),
             took);
      queue_.push_back(std::move(response));
    }
    out_.clear();
    if (writing_ || queue_.empty()) return;
    writing_ = true;
    this->StartWrite(&queue_.front());
  }

  void finish(grpc::Status status) {
    finished_ = true;
    if (!status.ok() && status.error_code() != grpc::StatusCode::CANCELLED)
      PN_LOG(kWarning, "ads", "refused: {}", status.error_message());
    this->Finish(std::move(status));
  }

  Distributor& distributor_;
  Caller caller_;
  const bool tcp_, secrets_only_;
  State state_;
  Request request_;
  std::vector<Response> out_;
  std::deque<Response> queue_;
  std::chrono::steady_clock::time_point started_;
  bool identified_ = false, router_ = false, writing_ = false, finished_ = false, update_due_ = false;
};

using Delta = Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse, DeltaStream>;
using Sotw = Stream<DiscoveryRequest, DiscoveryResponse, SotwStream>;

class Ads final : public discovery::AggregatedDiscoveryService::CallbackService {
 public:
  Ads(Distributor& distributor, Caller caller) : distributor_(distributor), caller_(std::move(caller)) {}
  grpc::ServerBidiReactor<DiscoveryRequest, DiscoveryResponse>* StreamAggregatedResources(
      grpc::CallbackServerContext*) override {
    return new Sotw(distributor_, caller_, false);
  }
  grpc::ServerBidiReactor<DeltaDiscoveryRequest, DeltaDiscoveryResponse>* DeltaAggregatedResources(
      grpc::CallbackServerContext*) override {
    return new Delta(distributor_, caller_, false);
  }

 private:
  Distributor& distributor_;
  Caller caller_;
};

class Sds final : public secret::SecretDiscoveryService::CallbackService {
 public:
  Sds(Distributor& distributor, Caller caller) : distributor_(distributor), caller_(std::move(caller)) {}
  grpc::ServerBidiReactor<DiscoveryRequest, DiscoveryResponse>* StreamSecrets(grpc::CallbackServerContext*) override {
    return new Sotw(distributor_, caller_, true);
  }
  grpc::ServerBidiReactor<DeltaDiscoveryRequest, DeltaDiscoveryResponse>* DeltaSecrets(
      grpc::CallbackServerContext*) override {
    return new Delta(distributor_, caller_, true);
  }

 private:
  Distributor& distributor_;
  Caller caller_;
};

class Running final : public PodServer {
 public:
  Running(Distributor& distributor, const Caller& caller) : ads_(distributor, caller), sds_(distributor, caller) {}
  ~Running() override { stop(); }

  bool start(const std::string& address) {
    grpc::ServerBuilder builder;
    int bound = 0;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &bound);
    builder.RegisterService(&ads_);
    builder.RegisterService(&sds_);
    builder.SetMaxReceiveMessageSize(-1);
    builder.SetMaxSendMessageSize(-1);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    server_ = builder.BuildAndStart();
    return server_ && bound != 0;
  }
  void stop() override {
    if (!server_) return;
    // Streams never end by themselves: the deadline cancels them.
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
    server_.reset();
  }

 private:
  Ads ads_;
  Sds sds_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

Result<std::unique_ptr<PodServer>> PodServer::start(Distributor& distributor, const std::string& address,
                                                    Caller caller) {
  auto out = std::make_unique<Running>(distributor, caller);
  if (!out->start(address)) return error(fmt::format("cannot listen on {}", address));
  return std::unique_ptr<PodServer>(std::move(out));
}

}  // namespace pinnace::translator
