#include "proxy/http/path.h"

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

bool is_dot(std::string_view text, size_t at, size_t& length) {
  if (at < text.size() && text[at] == '.') {
    length = 1;
    return true;
  }
  length = 3;
  return escaped(text, at) == '.';
}

// How many dots a segment consists of: 1 for ".", 2 for "..", 0 for anything else. "%2e" counts as a dot.
int dot_segment(std::string_view segment) {
  size_t at = 0, length = 0;
  int dots = 0;
  while (at < segment.size()) {
    if (!is_dot(segment, at, length)) return 0;
    at += length;
    if (++dots > 2) return 0;
  }
  return dots;
}

bool needs_work(std::string_view path, const PathOptions& options) {
  for (size_t i = 0; i < path.size(); i++) {
    char c = path[i];
    if (c == '%' || c == '\\') return true;
    if (c == '/' && i + 1 < path.size() && (path[i + 1] == '.' || (options.merge_slashes && path[i + 1] == '/'))) return true;
  }
  return false;
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

  char* out = arena.take_chars(whole.size());
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
    // One pass in place: the output never gets ahead of the input.
    std::string_view in{out, n};
    size_t to = 0;
    size_t at = 0;
    while (at < in.size()) {
      at++;  // the slash before the segment
      size_t stop = at;
      while (stop < in.size() && in[stop] != '/' && in[stop] != '\\') stop++;
      std::string_view segment = in.substr(at, stop - at);
      for (size_t i = 0; i < segment.size(); i++) {
        int byte = segment[i] == '%' ? escaped(segment, i) : 1;
        if (byte <= 0) return PathAction::kReject;  // a broken escape, or NUL
      }
      int dots = dot_segment(segment);
      bool last = stop == in.size();
      if (dots == 2) {
        while (to > 0 && out[--to] != '/') {
        }
      }
      if (dots == 0) {
        out[to++] = '/';
        std::memmove(out + to, segment.data(), segment.size());
        to += segment.size();
      } else if (last) {
        out[to++] = '/';
      }
      at = stop;
    }
    n = to;
  }
  if (options.merge_slashes) {
    size_t to = 0;
    for (size_t i = 0; i < n; i++) {
      if (out[i] == '/' && to > 0 && out[to - 1] == '/') continue;
      out[to++] = out[i];
    }
    n = to;
  }
  std::memcpy(out + n, rest.data(), rest.size());
  whole = {out, n + rest.size()};
  return action;
}

}  // namespace pinnace::http
