// Access log lines: every operator, absent values, cut values, and format strings that are refused.
#include "proxy/access_log/format.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pinnace::access_log {
namespace {

struct Line {
  Line() : arena(pool), request(arena), response(arena), entry{info} {
    entry.request = &request;
    entry.response = &response;
  }
  std::string operator()(std::string_view text) const {
    auto format = Format::compile(text);
    if (!format) return "error: " + format.error().message;
    std::string out = "before ";
    format->render(entry, out);
    return out.substr(7);
  }

  base::BlockPool pool;
  base::Arena arena;
  http::StreamInfo info;
  http::RequestHead request;
  http::ResponseHead response;
  Entry entry;
};

TEST(FormatTest, prints_every_operator) {
  Line line;
  auto local = base::Address::ip("10.0.0.1", 8080).value(), direct = base::Address::ip("10.0.0.2", 50001).value();
  net::TlsInfo tls;
  tls.peer_uri_sans = {"spiffe://a", "spiffe://b"};
  tls.local_uri_sans = {"spiffe://c"};
  tls.peer_subject = "CN=x";
  tls.version = "TLSv1.3";
  tls.cipher = "TLS_AES_256_GCM_SHA384";
  auto& info = line.info;
  info.start_wall_ns = 1795354566733999999ull;
  info.start_ns = 5'000'000'000;
  info.end_ns = 5'012'999'999;
  info.bytes_received = 12;
  info.bytes_sent = 34567890123;
  info.response_code = 200;
  info.protocol = "HTTP/1.1";
  info.details = "via_upstream";
  info.termination_details = "why not";
  info.upstream_failure = "TLS_error";
  info.attempts = 2;
  info.local_address = &local;
  info.direct_remote_address = &direct;
  info.remote_address = base::Address::ip("fd00::5", 0).value();
  info.tls = &tls;
  info.requested_server_name = "sni.example";
  info.upstream_host = "10.0.0.9:80";
  info.cluster_name = "outbound|80||a.b";
  info.upstream_local_address = base::Address::ip("10.0.0.1", 41000).value();
  info.route_name = "default";
  line.request.method = "GET";
  line.request.path = "/a?b";
  line.request.authority = "a.b:80";
  line.request.scheme = "https";
  line.request.headers.add("user-agent", "curl/8");
  line.request.headers.add("x", "1");
  line.request.headers.add("x", "2");
  line.response.headers.add("server", "istio-envoy");
  struct {
    const char* format;
    const char* expected;
  } cases[] = {
      {"%START_TIME%", "2026-11-22T13:36:06.733Z"},
      {"%REQ(:METHOD)%", "GET"},
      {"%REQ(:PATH)%", "/a?b"},
      {"%REQ(:AUTHORITY)%", "a.b:80"},
      {"%REQ(:SCHEME)%", "https"},
      {"%REQ(HOST)%", "a.b:80"},
      {"%REQ(USER-AGENT)%", "curl/8"},
      {"%REQ(user-agent)%", "curl/8"},
      {"%REQ(X)%", "1"},
      {"%REQ(NOT-THERE?X)%", "1"},
      {"%REQ(X?USER-AGENT)%", "1"},
      {"%RESP(Server)%", "istio-envoy"},
      {"%RESP(NOT-THERE?SERVER)%", "istio-envoy"},
      {"%PROTOCOL%", "HTTP/1.1"},
      {"%RESPONSE_CODE%", "200"},
      {"%RESPONSE_FLAGS%", "-"},
      {"%RESPONSE_CODE_DETAILS%", "via_upstream"},
      {"%CONNECTION_TERMINATION_DETAILS%", "why not"},
      {"%UPSTREAM_TRANSPORT_FAILURE_REASON%", "TLS_error"},
      {"%BYTES_RECEIVED%", "12"},
      {"%BYTES_SENT%", "34567890123"},
      {"%DURATION%", "12"},
      {"%UPSTREAM_HOST%", "10.0.0.9:80"},
      {"%UPSTREAM_CLUSTER%", "outbound|80||a.b"},
      {"%UPSTREAM_CLUSTER_RAW%", "outbound|80||a.b"},
      {"%UPSTREAM_LOCAL_ADDRESS%", "10.0.0.1:41000"},
      {"%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "2"},
      {"%DOWNSTREAM_LOCAL_ADDRESS%", "10.0.0.1:8080"},
      {"%DOWNSTREAM_LOCAL_PORT%", "8080"},
      {"%DOWNSTREAM_REMOTE_ADDRESS%", "[fd00::5]:0"},
      {"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "fd00::5"},
      {"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", "10.0.0.2:50001"},
      {"%DOWNSTREAM_PEER_URI_SAN%", "spiffe://a,spiffe://b"},
      {"%DOWNSTREAM_LOCAL_URI_SAN%", "spiffe://c"},
      {"%DOWNSTREAM_PEER_SUBJECT%", "CN=x"},
      {"%DOWNSTREAM_TLS_VERSION%", "TLSv1.3"},
      {"%DOWNSTREAM_TLS_CIPHER%", "TLS_AES_256_GCM_SHA384"},
      {"%REQUESTED_SERVER_NAME%", "sni.example"},
      {"%ROUTE_NAME%", "default"},
      {"[%START_TIME%] \"%REQ(:METHOD)% %PROTOCOL%\" 100%%\n", "[2026-11-22T13:36:06.733Z] \"GET HTTP/1.1\" 100%\n"},
      {"plain", "plain"},
      {"", ""},
      {"%%%ROUTE_NAME%%%", "%default%"},
  };
  for (const auto& c : cases) EXPECT_EQ(line(c.format), c.expected) << c.format;
}

TEST(FormatTest, prints_a_dash_for_what_is_absent) {
  Line line;
  for (bool tcp : {false, true}) {
    if (tcp) line.entry.request = nullptr, line.entry.response = nullptr, line.entry.tcp = true;
    for (const char* op : {"REQ(X)",
                           "REQ(X?Y)",
                           "RESP(X)",
                           "RESP(X?Y)",
                           "PROTOCOL",
                           "RESPONSE_FLAGS",
                           "RESPONSE_CODE_DETAILS",
                           "CONNECTION_TERMINATION_DETAILS",
                           "UPSTREAM_TRANSPORT_FAILURE_REASON",
                           "UPSTREAM_HOST",
                           "UPSTREAM_CLUSTER",
                           "UPSTREAM_CLUSTER_RAW",
                           "UPSTREAM_LOCAL_ADDRESS",
                           "DOWNSTREAM_LOCAL_ADDRESS",
                           "DOWNSTREAM_REMOTE_ADDRESS",
                           "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
                           "DOWNSTREAM_PEER_URI_SAN",
                           "DOWNSTREAM_LOCAL_URI_SAN",
                           "DOWNSTREAM_PEER_SUBJECT",
                           "DOWNSTREAM_TLS_VERSION",
                           "DOWNSTREAM_TLS_CIPHER",
                           "REQUESTED_SERVER_NAME",
                           "ROUTE_NAME",
                           "REQ(:METHOD)",
                           "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)"}) {
      EXPECT_EQ(line("%" + std::string(op) + "%"), "-") << op;
    }
    for (const char* op : {"RESPONSE_CODE", "BYTES_RECEIVED", "BYTES_SENT", "UPSTREAM_REQUEST_ATTEMPT_COUNT"}) {
      EXPECT_EQ(line("%" + std::string(op) + "%"), "0") << op;
    }
  }
}

TEST(FormatTest, tells_an_empty_header_from_an_absent_one) {
  Line line;
  line.request.headers.add("empty", "");
  line.request.headers.add("x", "1");
  line.response.headers.add("empty", "");
  EXPECT_EQ(line("%REQ(EMPTY)%"), "");
  EXPECT_EQ(line("%RESP(EMPTY)%"), "");
  EXPECT_EQ(line("%REQ(EMPTY?X)%"), "") << "it is there";
}

TEST(FormatTest, shows_the_whole_chain_of_x_forwarded_for) {
  Line line;
  line.request.headers.add("x-forwarded-for", "1.1.1.1");
  line.request.headers.add("x-forwarded-for", "2.2.2.2");
  EXPECT_EQ(line("%REQ(X-FORWARDED-FOR)%"), "1.1.1.1,2.2.2.2");
}

TEST(FormatTest, prints_flags_in_the_order_they_were_set) {
  Line line;
  line.info.set(http::Flag::kUpstreamRetryLimitExceeded);
  line.info.set(http::Flag::kUpstreamConnectionFailure);
  line.info.set(http::Flag::kUpstreamRetryLimitExceeded);
  EXPECT_EQ(line("%RESPONSE_FLAGS%"), "URX,UF");
  Line other;
  other.info.set(http::Flag::kUpstreamConnectionFailure);
  other.info.set(http::Flag::kUpstreamRetryLimitExceeded);
  EXPECT_EQ(other("%RESPONSE_FLAGS%"), "UF,URX");
}

TEST(FormatTest, knows_every_flag_by_its_short_name) {
  for (unsigned i = 0; i < static_cast<unsigned>(http::Flag::kCount); i++) {
    auto flag = static_cast<http::Flag>(i);
    Line line;
    line.info.set(flag);
    std::string text = line("%RESPONSE_FLAGS%");
    EXPECT_GE(text.size(), 2u);
    EXPECT_EQ(http::flag_from_text(text), flag) << text;
  }
  EXPECT_EQ(http::flag_from_text("XX"), http::Flag::kCount);
  EXPECT_EQ(http::flag_from_text(""), http::Flag::kCount);
}

TEST(FormatTest, writes_underscores_for_spaces_in_details) {
  Line line;
  line.info.details = "a b  c";
  line.info.upstream_failure = "delayed connect error: Connection refused";
  line.info.termination_details = "a b";
  EXPECT_EQ(line("%RESPONSE_CODE_DETAILS%"), "a_b__c");
  EXPECT_EQ(line("%UPSTREAM_TRANSPORT_FAILURE_REASON%"), "delayed_connect_error:_Connection_refused");
  EXPECT_EQ(line("%CONNECTION_TERMINATION_DETAILS%"), "a b") << "these keep them";
}

TEST(FormatTest, cuts_values_to_their_length) {
  Line line;
  line.request.path = "/abcdef";
  EXPECT_EQ(line("%REQ(:PATH):3%"), "/ab");
  EXPECT_EQ(line("%REQ(:PATH):7%"), "/abcdef");
  EXPECT_EQ(line("%REQ(:PATH):100%"), "/abcdef");
  EXPECT_EQ(line("%REQ(X?:PATH):2%"), "/a");
  EXPECT_EQ(line("%REQ(:PATH):0%"), "");
}

TEST(FormatTest, lets_no_value_of_a_peer_break_out_of_its_quotes) {
  Line line;
  line.request.headers.add("a", "x\" 200 - \"y");
  line.request.headers.add("b", "back\\slash");
  line.request.headers.add("c", "\xff\xe9 bytes");
  line.request.headers.add("d", "123\"567");
  line.info.requested_server_name = "evil\n[2026] \"\x1b[0m";
  EXPECT_EQ(line("\"%REQ(A)%\""), "\"x\\\" 200 - \\\"y\"");
  EXPECT_EQ(line("%REQ(B)%"), "back\\\\slash");
  EXPECT_EQ(line("%REQ(C)%"), "\xff\xe9 bytes");
  std::string name = line("%REQUESTED_SERVER_NAME%");
  EXPECT_EQ(name.find('\n'), std::string::npos);
  EXPECT_EQ(name.find('\x1b'), std::string::npos);
  // A cut in the middle of an escape would leave a backslash that swallows the closing quote.
  EXPECT_EQ(line("\"%REQ(D):4%\""), "\"123\\\"\"");
}

TEST(FormatTest, escapes_every_byte_wherever_it_stands) {
  for (int byte = 1; byte < 256; byte++) {
    char c = static_cast<char>(byte);
    char hex[5];
    snprintf(hex, sizeof hex, "\\x%02x", byte);
    std::string escaped = byte < 0x20 || byte == 0x7f ? hex
                          : c == '"' || c == '\\'     ? std::string{'\\', c}
                                                      : std::string{c};
    for (size_t before = 0; before < 18; before++) {
      Line line;
      std::string left(before, 'l'), right(17 - before, '\xe9');
      std::string value = left + c + right;
      line.request.path = value;
      EXPECT_EQ(line("%REQ(:PATH)%"), left + escaped + right) << byte;
    }
  }
}

TEST(FormatTest, refuses_what_envoy_refuses) {
  for (const char* text : {"%NOSUCH%",
                           "%REQ%",
                           "%REQ()%",
                           "%RESP%",
                           "%REQ(A?B?C)%",
                           "%REQ(A):x%",
                           "%REQ(A):%",
                           "%REQ(A):-1%",
                           "%REQ(A):3x%",
                           "%REQ(A)x%",
                           "%",
                           "%REQ(A)",
                           "%REQ(A%",
                           "%PROTOCOL:3%",
                           "%PROTOCOL(x)%",
                           "%RESPONSE_CODE(1)%",
                           "%protocol%",
                           "%req(a)%",
                           "%REQ(a b)%",
                           "% PROTOCOL%",
                           "ok %START_TIME% %"}) {
    EXPECT_FALSE(Format::compile(text)) << text;
  }
  auto unknown = Format::compile("%ROUTE_NAME% %NOSUCH%");
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().message.find("NOSUCH"), std::string::npos);
}

TEST(FormatTest, has_a_default_that_compiles) {
  Line line;
  line.info.start_wall_ns = 1795354566000000000ull;
  EXPECT_EQ(line(kDefaultFormat), "[2026-11-22T13:36:06.000Z] \"- - -\" 0 - 0 0 0 - \"-\" \"-\" \"-\" \"-\" \"-\"\n");
}

}  // namespace
}  // namespace pinnace::access_log
