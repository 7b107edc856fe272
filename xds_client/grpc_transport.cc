#include "xds_client/grpc_transport.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <boost/asio/post.hpp>
#include <condition_variable>
#include <deque>
#include <mutex>

namespace pinnace::xds {
namespace {

std::string bytes_of(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string out;
  if (!buffer.Dump(&slices).ok()) return out;
  for (const auto& slice : slices) out.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return out;
}

// Counts calls that gRPC still works on: the library must not be taken down under them.
struct Unfinished {
  std::mutex mutex;
  std::condition_variable none;
  int count = 0;

  void add(int n) {
    std::lock_guard lock(mutex);
    count += n;
    if (count == 0) none.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex);
    none.wait_for(lock, std::chrono::seconds(3), [&] { return count == 0; });
  }
};

Unfinished& unfinished() {
  static Unfinished instance;
  return instance;
}

// One call. gRPC holds it until OnDone; the owner's end (GrpcTransport) may go earlier.
class Call final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                   public std::enable_shared_from_this<Call> {
 public:
  Call(boost::asio::io_context& control, std::shared_ptr<grpc::Channel> channel, Transport::Events events)
      : control_(control), stub_(std::move(channel)), events_(std::move(events)) {}

  void start(const std::string& method) {
    self_ = shared_from_this();
    unfinished().add(1);
    // The stream waits for the connection, but not for ever: a control plane that is away is tried again with back-off.
    stub_.PrepareBidiStreamingCall(&context_, method, grpc::StubOptions(), this);
    StartRead(&incoming_);
    AddHold();  // send() comes from outside gRPC's reactions: without a hold it could meet a stream that is gone
    StartCall();
  }
  void send(std::string message) {
    std::lock_guard lock(mutex_);
    if (over_) return;  // on_closed is on its way
    outgoing_.push_back(std::move(message));
    if (!writing_) write_next();
  }
  void abandon() {
    {
      std::lock_guard lock(mutex_);
      events_ = {};
      abandoned_ = true;
    }
    context_.TryCancel();
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      over();
      RemoveHold();  // OnDone follows
      return;
    }
    post([message = bytes_of(incoming_)](Transport::Events& events) mutable {
      if (events.on_message) events.on_message(std::move(message));
    });
    StartRead(&incoming_);
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return over();
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (!over_ && !outgoing_.empty()) write_next();
  }
  void OnDone(const grpc::Status& status) override {
    std::string why = status.ok()
                          ? "closed by the control plane"
                          : status.error_message() + " (gRPC status " + std::to_string(status.error_code()) + ")";
    post([why](Transport::Events& events) {
      if (events.on_closed) events.on_closed(why);
    });
    self_.reset();  // may be the last thing that holds this
    unfinished().add(-1);
  }

 private:
  // Runs on the control thread, unless the owner has gone.
  template <class Work>
  void post(Work work) {
    // Under the lock: after abandon() the control thread may be gone.
    std::lock_guard lock(mutex_);
    if (abandoned_) return;
    boost::asio::post(control_, [call = shared_from_this(), work = std::move(work)]() mutable {
      Transport::Events events;
      {
        std::lock_guard lock(call->mutex_);
        events = call->events_;
      }
      work(events);
    });
  }
  // From here on no write may begin.
  void over() {
    std::lock_guard lock(mutex_);
    over_ = true;
  }
  void write_next() {
    grpc::Slice slice(outgoing_.front());
    buffer_ = grpc::ByteBuffer(&slice, 1);
    outgoing_.pop_front();
    writing_ = true;
    StartWrite(&buffer_);
  }

  boost::asio::io_context& control_;
  grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer> stub_;
  grpc::ClientContext context_;
  std::mutex mutex_;
  Transport::Events events_;          // guarded by mutex_
  std::deque<std::string> outgoing_;  // guarded by mutex_
  bool writing_ = false;              // guarded by mutex_
  bool over_ = false;                 // guarded by mutex_
  bool abandoned_ = false;            // guarded by mutex_
  grpc::ByteBuffer incoming_, buffer_;
  std::shared_ptr<Call> self_;
};

class GrpcTransport final : public Transport {
 public:
  explicit GrpcTransport(std::shared_ptr<Call> call) : call_(std::move(call)) {}
  ~GrpcTransport() override { call_->abandon(); }
  void send(std::string message) override { call_->send(std::move(message)); }

 private:
  std::shared_ptr<Call> call_;
};

}  // namespace

GrpcTransportFactory::GrpcTransportFactory(boost::asio::io_context& control, std::map<std::string, std::string> targets)
    : control_(control), targets_(std::move(targets)) {
  grpc_init();
}

// Ours is the last use of the library: it ends here, with its threads, and not in the middle of the process's own end.
GrpcTransportFactory::~GrpcTransportFactory() {
  unfinished().wait();
  channels_.clear();
  grpc_shutdown_blocking();
}

std::unique_ptr<Transport> GrpcTransportFactory::open(const std::string& cluster, const std::string& method,
                                                      Transport::Events events) {
  auto& channel = channels_[cluster];
  if (!channel) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);  // istiod's pushes have no bound of their own
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);  // how long one attempt may take; gRPC's own is 20 s
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 300000);
    auto target = targets_.find(cluster);
    channel = grpc::CreateCustomChannel(target == targets_.end() ? "unix:/nonexistent" : target->second,
                                        grpc::InsecureChannelCredentials(), arguments);
  }
  auto call = std::make_shared<Call>(control_, channel, std::move(events));
  call->start(method);
  return std::make_unique<GrpcTransport>(std::move(call));
}

}  // namespace pinnace::xds
