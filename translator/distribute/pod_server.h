// PodServer: one gRPC server on one address with ADS and SDS, and the streams on it. Callback API: no threads of its
// own. THREAD: made and ended by the distributor's thread. LIFETIME: ends its streams before it goes.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "proxy/base/result.h"

namespace pinnace::translator {

class Distributor;

// Whose socket a stream came by; empty names: TCP, where the node id tells.
struct Caller {
  std::string pod, ns;
  bool by_socket() const { return !pod.empty(); }
};

class PodServer {
 public:
  // `address` in gRPC's form ("unix:/path", "127.0.0.1:15010").
  static Result<std::unique_ptr<PodServer>> start(Distributor& distributor, const std::string& address, Caller caller);
  virtual ~PodServer() = default;
  virtual void stop() = 0;
};

}  // namespace pinnace::translator
