#include "proxy/listener/active_listener.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "proxy/base/log.h"
#include "proxy/listener/pending_connection.h"
#include "tls/context.h"

namespace pinnace::listener {

using base::Address;

// One listening socket in the loop.
class ActiveListener::Socket final : public base::EventHandler {
 public:
  Socket(ActiveListener& listener, int fd) : listener_(listener), fd_(fd) {
    pause_.init(
        listener.loop().timers(), [](void* self) { static_cast<Socket*>(self)->watch(); }, this);
    watch();
  }
  ~Socket() override {
    if (watching_) listener_.loop().unwatch(fd_);
  }
  void on_event(uint32_t) override {
    constexpr uint32_t kMaxPerEvent = 32;  // then the others' turn; the socket stays readable
    uint32_t limit = listener_.config().accepts_per_event;
    if (limit == 0 || limit > kMaxPerEvent) limit = kMaxPerEvent;
    for (uint32_t i = 0; i < limit; i++) {
      Address remote;
      int fd = net::accept(fd_, remote);
      if (fd < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK) return;
        if (errno == EINTR || errno == ECONNABORTED) continue;
        return out_of_descriptors(errno);
      }
      net::ConnectionSlot slot;
      if (!listener_.admit(fd, slot)) continue;
      if (!listener_.hand_over(fd, remote, slot)) listener_.take(fd, remote, {}, std::move(slot));
    }
  }

 private:
  void watch() {
    int failure = listener_.loop().watch_level(fd_, *this);
    watching_ = failure == 0;
    if (failure != 0) {
      PN_LOG(kError, "listener", "{}: cannot watch its socket: {}", listener_.config().name, std::strerror(failure));
    }
  }
  // EMFILE and the like: leave the socket alone for a while instead of spinning on it.
  void out_of_descriptors(int why) {
    PN_LOG(kError, "listener", "{}: cannot accept: {} (raise ulimit -n); trying again in 100 ms",
           listener_.config().name, std::strerror(why));
    listener_.loop().unwatch(fd_);
    watching_ = false;
    pause_.arm(100);
  }

  ActiveListener& listener_;
  int fd_;
  bool watching_ = false;
  base::Timer pause_;
};

ActiveListener::ActiveListener(ListenerSet& set, const model::Update::ListenerChange& change)
    : set_(set), config_(change.listener), sockets_(change.sockets) {
  drain_timer_.init(
      loop().timers(), [](void* self) { static_cast<ActiveListener*>(self)->on_drain_deadline(); }, this);
  open_sockets();
}

ActiveListener::~ActiveListener() {
  while (!pending_.empty()) pending_.front().abandon();
  close_all();
}

void ActiveListener::open_sockets() {
  watched_.clear();
  if (!sockets_ || set_.stopped(*config_)) return;
  for (int fd : sockets_->of(set_.options().worker)) {
    // ENVOY: a listener refuses connections until it is warm; it is only bound before.
    net::start_listening(fd, static_cast<int>(config_->backlog));
    watched_.push_back(std::make_unique<Socket>(*this, fd));
  }
}

void ActiveListener::update(const model::Update::ListenerChange& change) {
  bool same_sockets = change.sockets == sockets_;
  config_ = change.listener;
  if (same_sockets) {
    for (int fd : sockets_ ? sockets_->of(set_.options().worker) : std::vector<int>()) {
      if (!watched_.empty()) net::start_listening(fd, static_cast<int>(config_->backlog));  // it may have changed
    }
  } else {
    for (auto& socket : watched_) socket->on_event(0);  // what the kernel has accepted is ours to answer
    watched_.clear();
    sockets_ = change.sockets;
    open_sockets();
  }
  // Sessions of chains that are no longer there finish what they do; all others do not notice.
  uint64_t deadline = loop().now_ms() + set_.options().drain_time_ms;
  for (const auto& pinned : chains_) {
    if (!has(pinned.get())) leaving_.push_back({pinned, deadline});
  }
  std::erase_if(chains_, [&](const auto& pinned) { return !has(pinned.get()); });
  for (auto* session : all_sessions()) {
    if (!has(&session->chain())) session->drain(false);
  }
  if (!leaving_.empty() && !drain_timer_.armed()) drain_timer_.arm(set_.options().drain_time_ms);
}

bool ActiveListener::has(const model::FilterChain* chain) const {
  if (config_->default_chain.get() == chain) return true;
  return std::any_of(config_->chains.begin(), config_->chains.end(), [&](const auto& c) { return c.get() == chain; });
}

void ActiveListener::stop_accepting() {
  // What the kernel has accepted is ours to answer; after that, clients are refused.
  for (auto& socket : watched_) socket->on_event(0);
  watched_.clear();
  if (!sockets_) return;
  for (int fd : sockets_->of(set_.options().worker)) net::stop_listening(fd);
}

void ActiveListener::retire() {
  retired_ = true;
  watched_.clear();
  sockets_.reset();
  while (!pending_.empty()) pending_.front().abandon();
  drain_sessions(false);
  if (!sessions_.empty()) drain_timer_.arm(set_.options().drain_time_ms);
  maybe_finish();
}

void ActiveListener::drain_sessions(bool close_idle) {
  for (auto* session : all_sessions()) session->drain(close_idle);
}

// A session that is told something may end and leave the list; it stays in memory until the turn ends.
std::vector<filter::Session*> ActiveListener::all_sessions() {
  std::vector<filter::Session*> all;
  for (auto& session : sessions_) all.push_back(&session);
  return all;
}

void ActiveListener::close_all() {
  for (auto* session : all_sessions()) session->close();
}

// Ends what an update or a removal left draining: all sessions of a retired listener, else those of chains whose time
// is up.
void ActiveListener::on_drain_deadline() {
  if (retired_) return close_all();
  std::vector<base::LocalRef<model::FilterChain>> due;
  while (!leaving_.empty() && leaving_.front().deadline_ms <= loop().now_ms()) {
    // One that came back has new sessions; the old ones were told and end by themselves.
    if (!has(leaving_.front().chain.get())) due.push_back(std::move(leaving_.front().chain));
    leaving_.erase(leaving_.begin());
  }
  if (!leaving_.empty()) drain_timer_.arm(leaving_.front().deadline_ms - loop().now_ms());
  for (auto* session : all_sessions()) {
    bool ends =
        std::any_of(due.begin(), due.end(), [&](const auto& chain) { return chain.get() == &session->chain(); });
    if (ends) session->close();
  }
}

bool ActiveListener::admit(int fd, net::ConnectionSlot& slot) {
  net::ConnectionLimit* limit = set_.options().limit;
  if (!limit || config_->ignore_connection_limit) return true;
  if (limit->take()) {
    slot = net::ConnectionSlot(*limit);
    return true;
  }
  loop().cells().add(config_->stats.global_cx_overflow);
  ::close(fd);
  return false;
}

// With few connections SO_REUSEPORT leaves workers idle; an accepted socket may move before its first byte.
bool ActiveListener::hand_over(int fd, const Address& remote, net::ConnectionSlot& slot) {
  constexpr uint32_t kFew = 64;
  size_t self = set_.options().worker;
  size_t workers = sockets_->workers();
  if (workers == 1 || !set_.options().post_to) return false;
  uint32_t own = sockets_->load_of(self);
  // ENVOY: balances by the listener that takes the connection in the end; here all that come by one socket are one.
  bool exact = config_->exact_balance || (config_->use_original_dst && set_.redirected_exactly());
  if (own > kFew && !exact) return false;
  size_t best = self;
  uint32_t least = own;
  for (size_t i = 0; i < workers; i++) {
    uint32_t load = sockets_->load_of(i);
    if (load < least) {
      least = load;
      best = i;
    }
  }
  if (best == self) return false;
  std::string name = config_->name;
  slot.bear(sockets_->load(best));  // at once, so that the next of a burst is not sent there too
  auto held = std::make_shared<net::ConnectionSlot>(std::move(slot));
  set_.options().post_to(
      best, [name, fd, remote, held](ListenerSet& other) { other.adopt(name, fd, remote, std::move(*held)); });
  return true;
}

void ActiveListener::take(int fd, const Address& remote, Address destination, net::ConnectionSlot slot) {
  // Of a redirected connection the listener that accepted it bears the load.
  if (sockets_ && destination.kind() == Address::Kind::kNone && !slot.borne()) {
    slot.bear(sockets_->load(set_.options().worker));
  }
  if (config_->use_original_dst && destination.kind() == Address::Kind::kNone) {
    Address original;
    if (net::original_destination(fd, original)) {
      if (ActiveListener* owner = set_.by_destination(original, this)) {
        return owner->take(fd, remote, original, std::move(slot));
      }
      destination = original;
    }
  }
  auto* pending = new PendingConnection(*this, fd, remote, destination, std::move(slot));
  pending_.push_back(*pending);
  loop().cells().inc(config_->stats.pre_cx_active);
  pending->start();
}

void ActiveListener::pending_ended(PendingConnection& pending) {
  pending.unlink();
  loop().cells().dec(config_->stats.pre_cx_active);
  loop().destroy_later(std::unique_ptr<base::Deferred>(&pending));
}

base::LocalRef<model::FilterChain> ActiveListener::pin(const std::shared_ptr<const model::FilterChain>& chain) {
  for (const auto& pinned : chains_) {
    if (pinned.get() == chain.get()) return pinned;
  }
  chains_.emplace_back(chain);
  return chains_.back();
}

void ActiveListener::start_session(PendingConnection& pending, int fd, const route::ConnectionFacts& facts,
                                   bool redirected) {
  const auto& chain = config_->index->find(facts);
  if (!chain) {
    loop().cells().add(config_->stats.no_filter_chain_match);
    http::StreamInfo info;
    info.start_wall_ns = loop().wall_ns();
    info.start_ns = info.end_ns = loop().now_ns();
    info.set(http::Flag::kNoRouteFound);
    info.details = "filter_chain_not_found";
    info.local_address = &facts.destination;
    bool told = facts.direct_source.kind() != base::Address::Kind::kNone;
    info.direct_remote_address = told ? &facts.direct_source : &facts.source;
    info.remote_address = facts.source;
    info.requested_server_name = facts.server_name;
    for (const auto& logger : config_->access_logs)
      logger->log({info, nullptr, nullptr, nullptr, true}, set_.context().logs);
    PN_LOG(kDebug, "listener", "{}: {} -> {} closed: {} (transport {}, SNI '{}')", config_->name, facts.source.text(),
           facts.destination.text(), config_->index->explain(facts).why, facts.transport_protocol, facts.server_name);
    ::close(fd);
    return;
  }
  if (facts.source.is_ip()) net::set_no_delay(fd);
  filter::Accepted accepted;
  accepted.connection = std::make_unique<net::Connection>(loop(), fd, facts.destination, facts.source);
  accepted.connection->set_buffer_limit(config_->buffer_limit);
  if (chain->tls) {
    tls::ContextPtr context = set_.context().tls.find(chain->tls->context_id);
    accepted.connection->set_transport(
        context ? tls::make_server(loop(), std::move(context), chain->tls->wants_peer_pem)
                : tls::make_unready("TLS_error:|the secrets of this filter chain have not been delivered"));
  }
  if (chain->prologue) accepted.connection->set_prologue(chain->prologue->make(loop().cells()));
  accepted.chain = pin(chain);
  accepted.listener = config_;
  if (redirected) accepted.original_destination = facts.destination;
  accepted.direct_remote = facts.direct_source;
  accepted.server_name = facts.server_name;
  accepted.owner = this;
  accepted.slot = pending.release_slot();
  accepted.source = pending.source();
  loop().cells().add(config_->stats.cx_total);
  loop().cells().inc(config_->stats.cx_active);
  session_count_++;
  auto session = chain->filter->create(set_.context(), std::move(accepted));
  filter::Session& started = *session.release();
  sessions_.push_back(started);
  started.start();
  bool unhealthy = set_.unhealthy() && config_->drains_when_unhealthy;
  if (set_.drains(*config_) || unhealthy) started.drain(false);
}

void ActiveListener::session_ended(filter::Session& session) {
  session.unlink();
  session_count_--;
  loop().cells().dec(config_->stats.cx_active);
  loop().cells().add(config_->stats.cx_destroy);
  loop().destroy_later(std::unique_ptr<base::Deferred>(&session));
  maybe_finish();
}

void ActiveListener::maybe_finish() {
  if (!retired_ || !sessions_.empty() || !linked()) return;
  unlink();
  loop().destroy_later(std::unique_ptr<base::Deferred>(this));
}

}  // namespace pinnace::listener
