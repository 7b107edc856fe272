// The gRPC transport against a control plane that ends streams while the proxy is still writing to them.
#include "xds_client/grpc_transport.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>

namespace pinnace::xds {
namespace {

// Answers every call with UNIMPLEMENTED at once.
struct RefusingServer {
  RefusingServer() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterCallbackGenericService(&service);
    server = builder.BuildAndStart();
  }
  ~RefusingServer() { server->Shutdown(std::chrono::system_clock::now()); }

  int port = 0;
  grpc::CallbackGenericService service;
  std::unique_ptr<grpc::Server> server;
};

TEST(GrpcTransport, AStreamThatEndsUnderAWriteIsReportedOnceAndTakesNoMore) {
  RefusingServer control_plane;
  boost::asio::io_context control;
  GrpcTransportFactory transports(control, {{"ads", "ipv4:127.0.0.1:" + std::to_string(control_plane.port)}});
  for (int round = 0; round < 200; round++) {
    int closed = 0;
    std::string why;
    auto stream = transports.open("ads", "/any/Method",
                                  {[](const std::string&) { FAIL() << "nothing was sent"; },
                                   [&](const std::string& reason) { closed++, why = reason; }});
    auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (closed == 0 && std::chrono::steady_clock::now() < deadline) {
      stream->send("a message");
      control.restart();
      control.poll();
    }
    ASSERT_EQ(closed, 1);
    EXPECT_NE(why.find("gRPC status 12"), std::string::npos) << why;
    stream->send("after the end");
  }
}

// Destroyed in the middle of its writes, it says nothing more.
TEST(GrpcTransport, AStreamLetGoIsSilent) {
  RefusingServer control_plane;
  boost::asio::io_context control;
  GrpcTransportFactory transports(control, {{"ads", "ipv4:127.0.0.1:" + std::to_string(control_plane.port)}});
  for (int round = 0; round < 50; round++) {
    bool gone = false;
    auto stream = transports.open("ads", "/any/Method", {nullptr, [&](const std::string&) { EXPECT_FALSE(gone); }});
    for (int i = 0; i < round; i++) stream->send("a message");
    stream.reset();
    gone = true;
    control.restart();
    control.poll();
  }
}

}  // namespace
}  // namespace pinnace::xds
