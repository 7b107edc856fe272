// HeadCollector: one decoded header block on its way into a RequestHead, within limits. What counts is what HPACK
// decodes to and how many fields there are, cookie crumbs and discarded fields included (CVE-2026-47774). Pure.
#pragma once

#include "proxy/http/message.h"

namespace pinnace::http::h2 {

struct HeadLimits {
  uint32_t max_bytes;   // decoded, with RFC 7541 4.1's 32 bytes a field
  uint32_t max_fields;  // of a head, and again of its trailers
};

class HeadCollector {
 public:
  // Counts a field; false once the limits are exceeded, and from then on. A head that is only a little too large can be
  // answered when it is whole; one that is hopeless() costs no more work.
  bool admit(std::string_view name, std::string_view value, const HeadLimits& limits) {
    bytes_ += name.size() + value.size() + 32;
    if (name[0] != ':') fields_++;
    if (bytes_ > limits.max_bytes || fields_ > limits.max_fields) fits_ = false;
    return fits_;
  }
  bool hopeless(const HeadLimits& limits) const {
    return bytes_ / 16 > limits.max_bytes || fields_ / 16 > limits.max_fields;
  }
  bool fits() const { return fits_; }

  // REQUIRES: admit() was true.
  void take(RequestHead& head, std::string_view name, std::string_view value) {
    base::Arena& arena = head.headers.arena();
    if (name[0] == ':') return take_pseudo(head, name, arena.copy(value));
    HeaderId id = header_id(name);
    if (id == HeaderId::kHost) {
      if (host_.empty()) host_ = arena.copy(value);
    } else {
      if (id == HeaderId::kCookie && head.headers.has(id)) crumbs_ = true;
      head.headers.add_copy(name, value);
    }
  }

  // The block is whole. RFC 9113 8.2.3: crumbs become one cookie; RFC 8441 5: an extended CONNECT reads as an upgrade.
  void finish(RequestHead& head) {
    fields_ = 0;  // trailers have an allowance of their own
    if (head.authority.empty()) head.authority = host_;
    if (!head.upgrade.empty()) head.method = "GET";
    if (crumbs_) join_cookies(head.headers);
  }

 private:
  void take_pseudo(RequestHead& head, std::string_view name, std::string_view value) {
    if (name == ":method") head.method = value;
    else if (name == ":path") head.path = value;
    else if (name == ":authority") head.authority = value;
    else if (name == ":scheme") head.scheme = value;
    else if (name == ":protocol") head.upgrade = value;
  }

  static void join_cookies(HeaderMap& headers) {
    size_t size = 0;
    for (const Header& header : headers) {
      if (header.id == HeaderId::kCookie) size += header.value.size() + 2;
    }
    char* text = headers.arena().take_chars(size);
    size_t n = 0;
    for (const Header& header : headers) {
      if (header.id != HeaderId::kCookie) continue;
      if (n > 0) {
        text[n++] = ';';
        text[n++] = ' ';
      }
      header.value.copy(text + n, header.value.size());
      n += header.value.size();
    }
    headers.set(HeaderId::kCookie, {text, n});
  }

  size_t bytes_ = 0;
  uint32_t fields_ = 0;
  bool fits_ = true;
  bool crumbs_ = false;
  std::string_view host_;
};

}  // namespace pinnace::http::h2
