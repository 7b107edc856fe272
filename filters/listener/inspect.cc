#include "filters/listener/inspect.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

namespace pinnace::filters::listener {
namespace {

using base::Bytes;

// Reads big-endian numbers and counted parts; once something does not fit, ok() stays false.
class Reader {
 public:
  explicit Reader(Bytes bytes) : bytes_(bytes) {}
  bool ok() const { return ok_; }
  bool empty() const { return bytes_.empty(); }
  size_t number(size_t width) {
    Bytes part = take(width);
    size_t value = 0;
    for (uint8_t b : part) value = value << 8 | b;
    return value;
  }
  Bytes take(size_t n) {
    if (n > bytes_.size()) {
      ok_ = false;
      bytes_ = {};
      return {};
    }
    Bytes part = bytes_.first(n);
    bytes_ = bytes_.subspan(n);
    return part;
  }
  Bytes counted(size_t width) { return take(number(width)); }

 private:
  Bytes bytes_;
  bool ok_ = true;
};

constexpr uint8_t kHandshakeRecord = 22;
constexpr uint8_t kClientHello = 1;
constexpr size_t kServerName = 0, kAlpn = 16;

// RFC 6066 3. False: malformed, and so is the hello. A NUL would let two readers see two names.
bool read_server_name(Bytes extension, TlsFacts& facts) {
  Reader outer(extension);
  Reader list(outer.counted(2));
  if (!outer.ok() || !outer.empty() || list.empty()) return false;
  while (!list.empty()) {
    size_t type = list.number(1);
    Bytes name = list.counted(2);
    if (!list.ok() || type != 0 || !facts.server_name.empty()) return false;
    if (name.empty() || name.size() > 255 || std::find(name.begin(), name.end(), 0) != name.end()) return false;
    facts.server_name.assign(name.begin(), name.end());
    std::transform(facts.server_name.begin(), facts.server_name.end(), facts.server_name.begin(),
                   [](unsigned char c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; });
  }
  return true;
}

// RFC 7301 3.1.
bool read_alpn(Bytes extension, TlsFacts& facts) {
  Reader outer(extension);
  Reader list(outer.counted(2));
  if (!outer.ok() || !outer.empty() || list.empty()) return false;
  while (!list.empty()) {
    Bytes name = list.counted(1);
    if (!list.ok() || name.empty()) return false;
    facts.alpn.emplace_back(name.begin(), name.end());
  }
  return true;
}

Inspection read_hello(Bytes hello, TlsFacts& facts) {
  Reader reader(hello);
  reader.take(2 + 32);  // legacy_version, random
  reader.counted(1);    // legacy_session_id
  reader.counted(2);    // cipher_suites
  reader.counted(1);    // legacy_compression_methods
  if (!reader.ok()) return Inspection::kNo;
  if (reader.empty()) return Inspection::kYes;  // a hello without extensions
  Reader extensions(reader.counted(2));
  if (!reader.ok() || !reader.empty()) return Inspection::kNo;
  bool seen_name = false, seen_alpn = false;
  while (!extensions.empty()) {
    size_t type = extensions.number(2);
    Bytes body = extensions.counted(2);
    if (!extensions.ok()) return Inspection::kNo;
    // RFC 8446 4.2: no extension twice.
    if (type == kServerName && (std::exchange(seen_name, true) || !read_server_name(body, facts)))
      return Inspection::kNo;
    if (type == kAlpn && (std::exchange(seen_alpn, true) || !read_alpn(body, facts))) return Inspection::kNo;
  }
  return Inspection::kYes;
}

constexpr size_t kMostMethod = 64;

// RFC 9110 5.6.2.
bool is_token_char(char c) {
  static constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         kMarks.find(c) != std::string_view::npos;
}

}  // namespace

Inspection inspect_tls(Bytes bytes, TlsFacts& facts) {
  facts = {};
  std::vector<uint8_t> joined;  // the hello when it spans records
  Bytes rest = bytes;
  while (true) {
    if (!rest.empty() && rest[0] != kHandshakeRecord) return Inspection::kNo;
    if (rest.size() > 1 && rest[1] != 3) return Inspection::kNo;
    if (rest.size() < 5) return bytes.size() >= kMaxPeek ? Inspection::kNo : Inspection::kNeedMore;
    size_t length = static_cast<size_t>(rest[3]) << 8 | rest[4];
    if (length == 0 || length > 16384 + 256) return Inspection::kNo;
    Bytes body = rest.subspan(5, std::min(length, rest.size() - 5));
    bool whole_record = body.size() == length;
    joined.insert(joined.end(), body.begin(), body.end());
    if (!joined.empty() && joined[0] != kClientHello) return Inspection::kNo;
    if (joined.size() >= 4) {
      size_t need = 4 + (static_cast<size_t>(joined[1]) << 16 | static_cast<size_t>(joined[2]) << 8 | joined[3]);
      if (need > kMaxPeek) return Inspection::kNo;
      if (joined.size() >= need) {
        Inspection answer = read_hello(Bytes(joined).subspan(4, need - 4), facts);
        if (answer == Inspection::kNo) facts = {};
        return answer;
      }
    }
    if (!whole_record) return bytes.size() >= kMaxPeek ? Inspection::kNo : Inspection::kNeedMore;
    rest = rest.subspan(5 + length);
  }
}

Inspection inspect_http(Bytes bytes, std::string& protocol) {
  static constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  std::string_view text{reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  if (text.substr(0, kPreface.size()) == kPreface.substr(0, text.size())) {
    if (text.size() < kPreface.size()) return Inspection::kNeedMore;
    protocol = "h2c";
    return Inspection::kYes;
  }
  // A request line: METHOD SP target SP HTTP/1.x CRLF. ENVOY: any method, but the target is a path, a URL or "*".
  size_t space = text.find(' ');
  std::string_view method = text.substr(0, space);
  if (space == 0 || !std::all_of(method.begin(), method.end(), is_token_char)) return Inspection::kNo;
  if (space == std::string_view::npos && text.size() > kMostMethod) return Inspection::kNo;
  size_t end = text.find('\n');
  if (end == std::string_view::npos) return bytes.size() >= kMaxPeek ? Inspection::kNo : Inspection::kNeedMore;
  std::string_view line = text.substr(0, end);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  size_t last = line.rfind(' ');
  if (last == std::string_view::npos || last == space) return Inspection::kNo;
  std::string_view target = line.substr(space + 1, last - space - 1);
  if (target.empty()) return Inspection::kNo;
  bool url = target.find("://") != std::string_view::npos;
  if (target.front() != '/' && target != "*" && !url && method != "CONNECT") return Inspection::kNo;
  std::string_view version = line.substr(last + 1);
  if (version == "HTTP/1.1") protocol = "http/1.1";
  else if (version == "HTTP/1.0") protocol = "http/1.0";
  else return Inspection::kNo;
  return Inspection::kYes;
}

}  // namespace pinnace::filters::listener
