#include "proxy/http/path.h"

#include <algorithm>

namespace pinnace::http {
namespace {

int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// The byte that "%xy" at `at` stands for, or -1.
int escaped(std::string_view text, size_t at) {
  if (at + 2 >= text.size() || text[at] != '%') return -1;
  int high = hex(text[at + 1]), low = hex(text[at + 2]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

bool is_unreserved(int c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         c == '_' || c == '~';
}

// What has no place in a path (RFC 3986 3.3) and is escaped, as Envoy does.
bool must_escape(char c) { return std::string_view("\"<>^`{|}").find(c) != std::string_view::npos; }

// How many dots a segment consists of: 1 for ".", 2 for "..", 0 for anything else. Parameters (";...") do not hide
// them.
int dot_segment(std::string_view segment) {
  segment = segment.substr(0, segment.find(';'));
  return segment == "." ? 1 : segment == ".." ? 2 : 0;
}

bool needs_work(std::string_view path, const PathOptions& options) {
  for (size_t i = 0; i < path.size(); i++) {
    char c = path[i];
    if (c == '%' || c == '\\' || must_escape(c)) return true;
    if (c == '/' && i + 1 < path.size() && (path[i + 1] == '.' || (options.merge_slashes && path[i + 1] == '/')))
      return true;
  }
  return false;
}

// One spelling for each path: unreserved characters unescaped, the unfit escaped, "\\" as "/". Broken escapes stay as
// they are. Empty when the path holds an escaped NUL.
std::string_view unescape(std::string_view in, base::Arena& arena) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  char* out = arena.take_chars(in.size() * 3);
  size_t n = 0;
  for (size_t i = 0; i < in.size(); i++) {
    int byte = in[i] == '%' ? escaped(in, i) : -1;
    if (byte == 0) return {};
    if (byte > 0 && is_unreserved(byte)) {
      out[n++] = static_cast<char>(byte);
      i += 2;
    } else if (in[i] == '\\') {
      out[n++] = '/';
    } else if (must_escape(in[i])) {
      out[n++] = '%';
      out[n++] = kHex[static_cast<unsigned char>(in[i]) >> 4];
      out[n++] = kHex[in[i] & 15];
    } else {
      out[n++] = in[i];
    }
  }
  return {out, n};
}

// RFC 3986 5.2.4. Returns the length of what it wrote to `out`.
size_t remove_dot_segments(std::string_view in, char* out) {
  size_t to = 0, at = 0;
  while (at < in.size()) {
    at++;  // the slash before the segment
    size_t stop = std::min(in.find('/', at), in.size());
    std::string_view segment = in.substr(at, stop - at);
    int dots = dot_segment(segment);
    if (dots == 2) {
      while (to > 0 && out[--to] != '/') {
      }
    }
    if (dots == 0) {
      out[to++] = '/';
      std::memcpy(out + to, segment.data(), segment.size());
      to += segment.size();
    } else if (stop == in.size()) {
      out[to++] = '/';
    }
    at = stop;
  }
  return to;
}

}  // namespace

PathAction normalize_path(std::string_view& whole, const PathOptions& options, base::Arena& arena) {
  if (size_t fragment = whole.find('#'); fragment != std::string_view::npos) {
    if (!options.strip_fragment) return PathAction::kReject;
    whole = whole.substr(0, fragment);
  }
  size_t end = whole.find_first_of("?#");
  std::string_view path = whole.substr(0, end);
  std::string_view rest = end == std::string_view::npos ? std::string_view() : whole.substr(end);
  if (path.empty() || path[0] != '/') return PathAction::kForward;  // "*" and CONNECT
  if (!needs_work(path, options)) return PathAction::kForward;

  char* out = arena.take_chars(whole.size() * 3);
  size_t n = 0;
  PathAction action = PathAction::kForward;
  if (options.escaped_slashes == EscapedSlashes::kKeep) {
    std::memcpy(out, path.data(), path.size());
    n = path.size();
  } else {
    for (size_t i = 0; i < path.size(); i++) {
      int byte = escaped(path, i);
      if (byte == '/' || byte == '\\') {
        if (options.escaped_slashes == EscapedSlashes::kReject) return PathAction::kReject;
        if (options.escaped_slashes == EscapedSlashes::kUnescapeAndRedirect) action = PathAction::kRedirect;
        out[n++] = static_cast<char>(byte);
        i += 2;
      } else {
        out[n++] = path[i];
      }
    }
  }
  if (options.normalize) {
    std::string_view clean = unescape(std::string_view(out, n), arena);
    if (clean.empty()) return PathAction::kReject;
    n = remove_dot_segments(clean, out);
  }
  if (options.merge_slashes) {
    size_t to = 0;
    for (size_t i = 0; i < n; i++) {
      if (out[i] == '/' && to > 0 && out[to - 1] == '/') continue;
      out[to++] = out[i];
    }
    n = to;
  }
  if (!rest.empty()) std::memcpy(out + n, rest.data(), rest.size());
  whole = {out, n + rest.size()};
  return action;
}

}  // namespace pinnace::http
