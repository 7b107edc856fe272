// The entries of a gRPC access-log service. envoy.data.accesslog.v3. Pure.
#pragma once

#include <string>
#include <vector>

#include "envoy/data/accesslog/v3/accesslog.pb.h"
#include "proxy/access_log/format.h"

namespace pinnace::filters::grpc_access_log {

// Headers that an entry carries besides those it has fields for: HttpGrpcAccessLogConfig.additional_*_to_log.
struct AdditionalHeaders {
  std::vector<std::string> request, response, trailers;  // lower case
};

void fill(const access_log::Entry& entry, const AdditionalHeaders& additional,
          envoy::data::accesslog::v3::HTTPAccessLogEntry& out);
void fill(const access_log::Entry& entry, envoy::data::accesslog::v3::TCPAccessLogEntry& out);

}  // namespace pinnace::filters::grpc_access_log
