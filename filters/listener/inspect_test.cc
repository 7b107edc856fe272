// tls_inspector and http_inspector over every split of what a client may send first.
#include "filters/listener/inspect.h"

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <vector>

namespace pinnace::filters::listener {
namespace {

base::Bytes view(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

// What an OpenSSL client of the given versions sends first.
std::string client_hello(const char* server_name, const std::string& alpn, int min = TLS1_2_VERSION,
                         int max = TLS1_3_VERSION) {
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  SSL_CTX_set_min_proto_version(context.get(), min);
  SSL_CTX_set_max_proto_version(context.get(), max);
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context.get()), SSL_free);
  BIO* out = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), out);
  if (server_name) SSL_set_tlsext_host_name(ssl.get(), server_name);
  if (!alpn.empty()) {
    SSL_set_alpn_protos(ssl.get(), reinterpret_cast<const uint8_t*>(alpn.data()), static_cast<unsigned>(alpn.size()));
  }
  SSL_connect(ssl.get());
  char* data;
  auto size = static_cast<size_t>(BIO_get_mem_data(out, &data));
  return {data, size};
}

std::string number(size_t value, int width) {
  std::string text;
  for (int i = width - 1; i >= 0; i--) text += static_cast<char>(value >> (8 * i));
  return text;
}
std::string counted(const std::string& body, int width) { return number(body.size(), width) + body; }
std::string extension(int type, const std::string& body) {
  return number(static_cast<size_t>(type), 2) + counted(body, 2);
}
std::string server_name(const std::string& name) {
  return extension(0, counted(std::string(1, 0) + counted(name, 2), 2));
}
std::string record(const std::string& body) { return "\x16\x03\x01" + counted(body, 2); }

// A hello by hand, so that it can be wrong.
std::string handshake(const std::string& extensions, bool with_extensions = true) {
  std::string body =
      "\x03\x03" + std::string(32, 'r') + counted("", 1) + counted("\x13\x01", 2) + counted(std::string(1, 0), 1);
  if (with_extensions) body += counted(extensions, 2);
  return "\x01" + counted(body, 3);
}

// The handshake message of `records`, in records of `size` bytes of body.
std::string in_records_of(const std::string& one_record, size_t size) {
  std::string body = one_record.substr(5), all;
  for (size_t at = 0; at < body.size(); at += size) all += record(body.substr(at, size));
  return all;
}

TEST(InspectTlsTest, reads_server_name_and_alpn_in_every_split) {
  for (int max : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    std::string hello = client_hello("Some.Example.COM", std::string("\x02h2\x08http/1.1"), TLS1_2_VERSION, max);
    for (size_t n = 0; n < hello.size(); n++) {
      TlsFacts facts;
      ASSERT_EQ(inspect_tls(view(hello).first(n), facts), Inspection::kNeedMore) << n;
    }
    TlsFacts facts;
    ASSERT_EQ(inspect_tls(view(hello), facts), Inspection::kYes);
    EXPECT_EQ(facts.server_name, "some.example.com");
    EXPECT_EQ(facts.alpn, (std::vector<std::string>{"h2", "http/1.1"}));
    EXPECT_EQ(inspect_tls(view(hello + "more bytes"), facts), Inspection::kYes);
  }
}

TEST(InspectTlsTest, sees_a_hello_that_offers_only_tls_1_3) {
  std::string hello = client_hello("a.b", "\x05istio", TLS1_3_VERSION, TLS1_3_VERSION);
  TlsFacts facts;
  ASSERT_EQ(inspect_tls(view(hello), facts), Inspection::kYes);
  EXPECT_EQ(facts.server_name, "a.b");
  EXPECT_EQ(facts.alpn, std::vector<std::string>{"istio"});
}

TEST(InspectTlsTest, sees_a_hello_without_server_name_or_alpn) {
  TlsFacts facts;
  facts.server_name = "old";
  facts.alpn = {"old"};
  ASSERT_EQ(inspect_tls(view(client_hello(nullptr, "")), facts), Inspection::kYes);
  EXPECT_EQ(facts.server_name, "");
  EXPECT_TRUE(facts.alpn.empty());
  EXPECT_EQ(inspect_tls(view(record(handshake("", false))), facts), Inspection::kYes) << "no extensions at all";
  EXPECT_EQ(inspect_tls(view(record(handshake(""))), facts), Inspection::kYes) << "an empty list of extensions";
}

TEST(InspectTlsTest, reads_a_hello_spread_over_records_of_any_size) {
  std::string hello = client_hello("some.example", "\x02h2");
  for (size_t size : {1, 2, 3, 4, 5, 7, 40, 43, 100, 200}) {
    std::string spread = in_records_of(hello, size);
    for (size_t n = 0; n < spread.size(); n += n < 300 ? 1 : 17) {
      TlsFacts facts;
      ASSERT_EQ(inspect_tls(view(spread).first(n), facts), Inspection::kNeedMore) << size << " " << n;
    }
    TlsFacts facts;
    ASSERT_EQ(inspect_tls(view(spread), facts), Inspection::kYes) << size;
    EXPECT_EQ(facts.server_name, "some.example");
    EXPECT_EQ(facts.alpn, std::vector<std::string>{"h2"});
  }
}

TEST(InspectTlsTest, says_no_as_soon_as_it_cannot_be_tls) {
  using namespace std::string_literals;
  for (const std::string& bytes :
       {"GET / HTTP/1.1\r\n"s, "\x15"s, "\x17\x03\x03"s, "\x16\x02"s, "\x16\x03\x01\x00\x00"s, "\x00"s,
        "\x16\x03\x01\xff\xff"s, "\x16\x03\x01\x00\x05\x02"s, "\x80\x2e\x01\x03\x01"s, "\n"s}) {
    TlsFacts facts;
    EXPECT_EQ(inspect_tls(view(bytes), facts), Inspection::kNo) << testing::PrintToString(bytes);
  }
  TlsFacts facts;
  EXPECT_EQ(inspect_tls({}, facts), Inspection::kNeedMore) << "a client that waits for the server";
}

TEST(InspectTlsTest, refuses_a_malformed_hello) {
  std::string good = server_name("a.b");
  std::string alpn = extension(16, counted(counted("h2", 1), 2));
  struct {
    const char* what;
    std::string hello;
  } cases[] = {
      {"an extension that is longer than the list", handshake(number(0, 2) + number(500, 2) + "x")},
      {"an extension cut off in its type", handshake(good + "x")},
      {"extensions longer than the hello",
       "\x01" + counted(std::string(34, 'r') + std::string(1, 0) + number(0, 2) + number(0, 1) + number(99, 2), 3)},
      {"a session id longer than the hello", "\x01" + counted(std::string(34, 'r') + "\xff", 3)},
      {"an empty hello", "\x01" + counted("", 3)},
      {"a server name list longer than its extension",
       handshake(extension(0, number(50, 2) + std::string(1, 0) + counted("a.b", 2)))},
      {"a server name longer than its list",
       handshake(extension(0, counted(std::string(1, 0) + number(50, 2) + "a.b", 2)))},
      {"an empty server name", handshake(server_name(""))},
      {"a server name with a NUL", handshake(server_name(std::string("good.com\0.evil.com", 18)))},
      {"a server name of 256 bytes", handshake(server_name(std::string(256, 'a')))},
      {"an ALPN list longer than its extension", handshake(good + extension(16, number(50, 2) + counted("h2", 1)))},
      {"an ALPN name longer than its list", handshake(good + extension(16, counted(counted("h2", 1) + "\x09x", 2)))},
      {"an empty ALPN name", handshake(good + extension(16, counted(counted("", 1), 2)))},
      {"two server name extensions", handshake(good + server_name("c.d"))},
      {"two ALPN extensions", handshake(alpn + alpn)},
  };
  for (const auto& c : cases) {
    TlsFacts facts;
    EXPECT_EQ(inspect_tls(view(record(c.hello)), facts), Inspection::kNo)
        << c.what << ": read server name '" << facts.server_name << "', " << facts.alpn.size() << " ALPN names";
  }
  TlsFacts facts;
  EXPECT_EQ(inspect_tls(view(record(handshake(good + alpn))), facts), Inspection::kYes);
}

TEST(InspectTlsTest, gives_up_on_a_hello_that_never_ends) {
  TlsFacts facts;
  EXPECT_EQ(inspect_tls(view(record("\x01\xff\xff\xff")), facts), Inspection::kNo) << "16 MiB announced";
  std::string large = "\x01" + number(60000, 3) + std::string(60000, 'x');
  std::string spread;
  for (size_t at = 0; at < large.size(); at++) spread += record(large.substr(at, 1));
  EXPECT_EQ(inspect_tls(view(spread).first(kMaxPeek), facts), Inspection::kNo);
}

Inspection http(const std::string& text, std::string* protocol = nullptr) {
  std::string found;
  Inspection result = inspect_http(view(text), found);
  if (protocol) *protocol = found;
  return result;
}

TEST(InspectHttpTest, knows_requests_by_their_first_line_in_every_split) {
  struct {
    const char* text;
    size_t line;  // bytes of the first line
    const char* protocol;
  } cases[] = {
      {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 16, "http/1.1"},
      {"POST /a?b HTTP/1.0\r\n\r\n", 20, "http/1.0"},
      {"PUT / HTTP/1.1\r\n", 16, "http/1.1"},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24, "h2c"},
  };
  for (const auto& c : cases) {
    std::string text = c.text, protocol;
    for (size_t n = 0; n < c.line; n++) EXPECT_EQ(http(text.substr(0, n)), Inspection::kNeedMore) << c.text << n;
    EXPECT_EQ(http(text.substr(0, c.line), &protocol), Inspection::kYes) << c.text;
    EXPECT_EQ(protocol, c.protocol);
    EXPECT_EQ(http(text + std::string("\x00\x00\x12\x04", 4), &protocol), Inspection::kYes);
    EXPECT_EQ(protocol, c.protocol);
  }
}

TEST(InspectHttpTest, knows_every_method_that_the_codec_of_envoy_takes) {
  for (const char* method :
       {"ACL",    "BIND",      "CHECKOUT",   "CONNECT",    "COPY",   "DELETE", "GET",        "HEAD",   "LINK",
        "LOCK",   "MERGE",     "MKACTIVITY", "MKCALENDAR", "MKCOL",  "MOVE",   "MSEARCH",    "NOTIFY", "OPTIONS",
        "PATCH",  "POST",      "PROPFIND",   "PROPPATCH",  "PURGE",  "PUT",    "REBIND",     "REPORT", "SEARCH",
        "SOURCE", "SUBSCRIBE", "TRACE",      "UNBIND",     "UNLINK", "UNLOCK", "UNSUBSCRIBE"}) {
    EXPECT_EQ(http(std::string(method) + " /x HTTP/1.1\r\n"), Inspection::kYes) << method;
    EXPECT_EQ(http(std::string(method)), Inspection::kNeedMore) << method;
  }
}

TEST(InspectHttpTest, says_no_as_soon_as_it_cannot_be_http) {
  for (const char* text :
       {"SSH-2.0-OpenSSH_9\r\n", "EHLO x\r\n", "\x16\x03\x01", "GET a HTTP/1.1\r\n", "EHLO a.b HTTP/1.1\r\n",
        " GET / HTTP/1.1\r\n", "G(T / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nXX", "*1\r\n$4\r\nPING\r\n",
        "GET / SPDY/1.0\r\n", "GET / HTTP/2.0\r\n", "GET /\r\n\r\n"}) {
    EXPECT_EQ(http(text), Inspection::kNo) << text;
  }
  EXPECT_EQ(http(std::string(1, '\0')), Inspection::kNo);
}

TEST(InspectHttpTest, takes_any_method_as_envoy_does) {
  for (const char* text :
       {"FOO /m HTTP/1.1\r\n", "get /m HTTP/1.1\r\n", "M-SEARCH * HTTP/1.1\r\n", "GET http://a/ HTTP/1.1\r\n"}) {
    EXPECT_EQ(http(text), Inspection::kYes) << text;
  }
  EXPECT_EQ(http("FOO"), Inspection::kNeedMore);
  EXPECT_EQ(http(std::string(65, 'A')), Inspection::kNo);
}

TEST(InspectHttpTest, waits_for_bytes_of_a_client_that_sends_none) { EXPECT_EQ(http(""), Inspection::kNeedMore); }

TEST(InspectHttpTest, gives_up_on_a_line_that_never_ends) {
  EXPECT_EQ(http("GET /" + std::string(kMaxPeek - 6, 'x')), Inspection::kNeedMore);
  EXPECT_EQ(http("GET /" + std::string(kMaxPeek, 'x')), Inspection::kNo);
}

}  // namespace
}  // namespace pinnace::filters::listener
