#include "proxy/http/h1/encoder.h"

#include <charconv>
#include <cstring>

namespace pinnace::http::h1 {
namespace {

class Writer {
 public:
  Writer(base::EventLoop& loop, base::Arena& arena, size_t size) {
    at_ = reinterpret_cast<char*>(loop.turn_memory(size));
    if (!at_) at_ = arena.take_chars(size);
    begin_ = at_;
  }
  void put(std::string_view text) {
    if (text.empty()) return;
    std::memcpy(at_, text.data(), text.size());
    at_ += text.size();
  }
  void field(std::string_view name, std::string_view value) {
    put(name);
    *at_++ = ':';
    *at_++ = ' ';
    put(value);
    *at_++ = '\r';
    *at_++ = '\n';
  }
  base::Bytes done() const { return {reinterpret_cast<const uint8_t*>(begin_), static_cast<size_t>(at_ - begin_)}; }

 private:
  char* begin_;
  char* at_;
};

size_t fields_size(const HeaderMap& fields) { return fields.byte_size() + fields.size() * 4; }

// A proxy's own hop-by-hop fields are written by the codec, whatever a filter left in the map.
bool hop_by_hop(HeaderId id) {
  return id == HeaderId::kConnection || id == HeaderId::kTransferEncoding || id == HeaderId::kKeepAlive ||
         id == HeaderId::kProxyConnection || id == HeaderId::kHost;
}

void put_fields(Writer& writer, const HeaderMap& fields) {
  for (const Header& field : fields) {
    if (!hop_by_hop(field.id)) writer.field(fields.spelling(field.name), field.value);
  }
}

void put_coding(Writer& writer, const HeaderMap& fields, BodyCoding coding) {
  if (coding == BodyCoding::kChunked) writer.field(fields.spelling("transfer-encoding"), "chunked");
  if (coding == BodyCoding::kZeroLength) writer.field(fields.spelling("content-length"), "0");
}

void put_connection(Writer& writer, const HeaderMap& fields, std::string_view value) {
  writer.field(fields.spelling("connection"), value);
}

void put_upgrade(Writer& writer, const HeaderMap& fields, std::string_view upgrade) {
  if (upgrade.empty()) return;
  put_connection(writer, fields, "upgrade");
  writer.field(fields.spelling("upgrade"), upgrade);
}

// RFC 6455 4.1: 16 random bytes in base64.
std::string_view websocket_key(base::Rng& rng, char (&out)[25]) {
  static constexpr char kBase64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  uint64_t bits = 0;
  for (size_t i = 0; i < 21; i++) {
    if (i % 10 == 0) bits = rng.next();
    out[i] = kBase64[bits & 63];
    bits >>= 6;
  }
  out[21] = kBase64[(rng.next() & 3) << 4];  // two bits are left of 128
  out[22] = out[23] = '=';
  return {out, 24};
}

}  // namespace

base::Bytes encode_response(base::EventLoop& loop, base::Arena& arena, const ResponseHead& head, BodyCoding coding,
                            bool close, bool http10_keep_alive) {
  std::string_view reason = reason_phrase(head.status);
  Writer writer(loop, arena, fields_size(head.headers) + reason.size() + 128);
  char status[4];
  std::to_chars(status, status + 3, head.status);
  writer.put("HTTP/1.1 ");
  writer.put({status, 3});
  writer.put(" ");
  writer.put(reason);
  writer.put("\r\n");
  put_fields(writer, head.headers);
  put_coding(writer, head.headers, coding);
  if (close || http10_keep_alive) put_connection(writer, head.headers, close ? "close" : "keep-alive");
  writer.put("\r\n");
  return writer.done();
}

// RFC 9110 7.8 and 9.3.6: neither has a body, so neither says how long one is.
base::Bytes encode_tunnel_response(base::EventLoop& loop, base::Arena& arena, const ResponseHead& head,
                                   std::string_view upgrade) {
  std::string_view reason = reason_phrase(head.status);
  Writer writer(loop, arena, fields_size(head.headers) + reason.size() + upgrade.size() + 128);
  char status[4];
  std::to_chars(status, status + 3, head.status);
  writer.put("HTTP/1.1 ");
  writer.put({status, 3});
  writer.put(" ");
  writer.put(reason);
  writer.put("\r\n");
  for (const Header& field : head.headers) {
    if (hop_by_hop(field.id) || field.id == HeaderId::kContentLength) continue;
    writer.field(head.headers.spelling(field.name), field.value);
  }
  put_upgrade(writer, head.headers, upgrade);
  writer.put("\r\n");
  return writer.done();
}

base::Bytes encode_request(base::EventLoop& loop, base::Arena& arena, const RequestHead& head, BodyCoding coding) {
  Writer writer(loop, arena,
                fields_size(head.headers) + head.method.size() + head.path.size() + 2 * head.authority.size() +
                    head.upgrade.size() + 192);
  writer.put(head.method);
  writer.put(" ");
  writer.put(head.method == "CONNECT" ? head.authority : head.path);
  writer.put(" HTTP/1.1\r\n");
  writer.field(head.headers.spelling("host"), head.authority);
  put_fields(writer, head.headers);
  put_coding(writer, head.headers, coding);
  put_upgrade(writer, head.headers, head.upgrade);
  if (equals_ignore_case(head.upgrade, "websocket") && !head.headers.find("sec-websocket-key")) {
    char key[25];
    writer.field("sec-websocket-key", websocket_key(loop.rng(), key));  // RFC 8441 5: HTTP/2 has none
  }
  writer.put("\r\n");
  return writer.done();
}

base::Bytes encode_fields(base::EventLoop& loop, base::Arena& arena, const HeaderMap& fields) {
  Writer writer(loop, arena, fields_size(fields) + 8);
  put_fields(writer, fields);
  writer.put("\r\n");
  return writer.done();
}

base::Bytes encode_chunk_size(base::EventLoop& loop, base::Arena& arena, size_t size) {
  Writer writer(loop, arena, 20);
  char digits[17];
  auto end = std::to_chars(digits, digits + sizeof digits, size, 16).ptr;
  writer.put({digits, static_cast<size_t>(end - digits)});
  writer.put("\r\n");
  return writer.done();
}

std::string_view reason_phrase(uint16_t status) {
  switch (status) {
    case 100: return "Continue";
    case 101: return "Switching Protocols";
    case 103: return "Early Hints";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 203: return "Non-Authoritative Information";
    case 204: return "No Content";
    case 205: return "Reset Content";
    case 206: return "Partial Content";
    case 300: return "Multiple Choices";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Payload Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 422: return "Unprocessable Entity";
    case 425: return "Too Early";
    case 426: return "Upgrade Required";
    case 428: return "Precondition Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "Unknown";
  }
}

}  // namespace pinnace::http::h1
