// Format: an access log's format string, compiled once into a list of operators. Rendering appends to a buffer and
// allocates nothing. Operators and what they print when a value is absent ("-") are Envoy's. UNLIKE ENVOY: quotes and
// control characters in values are escaped, so that no peer can write lines or fields of its own. ERRORS: compile()
// names the operator it does not know.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/access_log/entry.h"
#include "proxy/access_log/time_format.h"
#include "proxy/access_log/value_writer.h"
#include "proxy/base/result.h"

namespace pinnace::access_log {

// An operator that another layer brings, such as CEL. Immutable.
class Operator {
 public:
  virtual ~Operator() = default;
  virtual void write(const Entry& entry, const ValueWriter& to) const = 0;
};
using OperatorPtr = std::shared_ptr<const Operator>;
// By name and what stands in its parentheses. nullptr: there is none of that name.
using MakeOperator = std::function<Result<OperatorPtr>(std::string_view name, std::string_view argument)>;

class Format {
 public:
  // `style`: how what stands between the operators is written, and render() without another.
  static Result<Format> compile(std::string_view text, Style style = Style::kText, const MakeOperator& more = {});
  void render(const Entry& entry, std::string& out) const { render(entry, out, style_); }
  void render(const Entry& entry, std::string& out, Style style) const;
  // It is one operator and nothing else, so that its value can keep its type.
  bool single() const { return items_.size() == 1 && items_[0].op != Op::kLiteral; }

 private:
  enum class Op : uint8_t {
    kLiteral,
    kStartTime,
    kRequestHeader,
    kRequestHeaderWithoutQuery,
    kResponseHeader,
    kProtocol,
    kResponseCode,
    kResponseFlags,
    kResponseFlagsLong,
    kResponseCodeDetails,
    kConnectionTerminationDetails,
    kUpstreamTransportFailureReason,
    kBytesReceived,
    kBytesSent,
    kDuration,
    kRequestDuration,
    kResponseDuration,
    kResponseTxDuration,
    kLogType,
    kUpstreamHost,
    kUpstreamCluster,
    kUpstreamClusterRaw,
    kUpstreamProtocol,
    kUpstreamHostWithoutPort,
    kUpstreamHostPort,
    kUpstreamLocalAddress,
    kDownstreamLocalAddress,
    kDownstreamLocalAddressWithoutPort,
    kDownstreamLocalPort,
    kDownstreamRemoteAddress,
    kDownstreamRemoteAddressWithoutPort,
    kDownstreamRemotePort,
    kDownstreamDirectRemoteAddress,
    kDownstreamDirectRemoteAddressWithoutPort,
    kRequestedServerName,
    kRouteName,
    kAttemptCount,
    kPeerUriSan,
    kPeerDnsSan,
    kPeerFingerprint,
    kLocalUriSan,
    kPeerSubject,
    kTlsVersion,
    kTlsCipher,
    kStartTimeFormat,  // START_TIME(...)
    kGrpcStatus,
    kGrpcStatusNumber,
    kTrailer,
    kOther,  // `other`
    kFixed,  // the same for every entry: HOSTNAME, ENVIRONMENT(NAME)
  };
  // A header name, looked up once.
  struct Name {
    enum class Kind : uint8_t { kNone, kField, kMethod, kPath, kAuthority, kScheme };
    Kind kind = Kind::kNone;
    http::HeaderId id = http::HeaderId::kOther;
    std::string text;

    static Name of(std::string_view name);
    // Views without data: the field is absent. An empty one is there and prints as nothing.
    std::string_view in(const http::RequestHead& head) const;
    std::string_view in(const http::HeaderMap& fields) const;
  };
  // What few items have.
  struct Rare {
    Name alternative = {};    // REQ(A?B)
    bool snake_case = false;  // GRPC_STATUS(SNAKE_STRING)
    TimeFormat time = {};
    OperatorPtr other = {};
  };
  struct Item {
    Op op = Op::kLiteral;
    std::string text;  // literal, fixed
    Name name;
    uint32_t max_length = 0;  // :N
    bool has_length = false;
    std::shared_ptr<const Rare> rare;
  };

  static Result<Item> compile_operator(std::string_view text, const MakeOperator& more);
  static void render_item(const Item& item, const Entry& entry, Style style, std::string& out);

  std::vector<Item> items_;
  Style style_ = Style::kText;
};

// Istio's and Envoy's format when none is given.
extern const char* const kDefaultFormat;

}  // namespace pinnace::access_log
