// HeaderMap: the fields of one message in the order they came, names in lower case. Memory is the stream's arena: views
// stay valid until the stream ends. Pseudo-headers are members of RequestHead and ResponseHead, not fields.
// THREAD: the stream's worker.
#pragma once

#include <array>
#include <string_view>

#include "proxy/base/arena.h"
#include "proxy/http/known_headers.h"

namespace pinnace::http {

struct Header {
  std::string_view name;
  std::string_view value;
  HeaderId id;
};

class HeaderMap {
 public:
  explicit HeaderMap(base::Arena& arena) : arena_(&arena) { first_.fill(kNone); }
  HeaderMap(const HeaderMap&) = delete;
  HeaderMap& operator=(const HeaderMap&) = delete;

  base::Arena& arena() { return *arena_; }
  size_t size() const { return size_; }
  const Header* begin() const { return fields_; }
  const Header* end() const { return fields_ + size_; }

  // REQUIRES of all that add: name and value live in the arena or are constants; the name is lower case.
  void add(std::string_view name, std::string_view value) { add(header_id(name), name, value); }
  void add(HeaderId id, std::string_view value) { add(id, header_name(id), value); }
  void add(HeaderId id, std::string_view name, std::string_view value);
  void add_copy(std::string_view name, std::string_view value) { add(arena_->copy(name), arena_->copy(value)); }

  bool has(HeaderId id) const { return first_[static_cast<size_t>(id)] != kNone; }
  // The first field of that name; an empty view when there is none (see has()).
  std::string_view get(HeaderId id) const {
    uint16_t at = first_[static_cast<size_t>(id)];
    return at == kNone ? std::string_view() : fields_[at].value;
  }
  const Header* find(std::string_view name) const;
  // All fields of that name as one value, joined by "," (RFC 9110 5.2): what every matcher sees. False when absent.
  // The result may live in `arena`.
  bool joined(std::string_view name, base::Arena& arena, std::string_view& value) const;
  bool joined(HeaderId id, base::Arena& arena, std::string_view& value) const;

  // Puts one field in the place of all of that name.
  void set(HeaderId id, std::string_view value);
  void set(std::string_view name, std::string_view value);
  void remove(HeaderId id);
  void remove(std::string_view name);
  void append_to(HeaderId id, std::string_view separator, std::string_view value);
  void clear();

  // Copies the head as its peer wrote it (Envoy's preserve_case).
  void keep_spelling(std::string_view head) { head_ = arena_->copy(head); }
  // How that peer spelt the name of a field; as it is when it did not say it, or nobody kept it.
  std::string_view spelling(std::string_view name) const { return head_.empty() ? name : spelling_in_head(name); }

  // Bytes as counted against max_request_headers_kb.
  size_t byte_size() const { return bytes_; }

 private:
  static constexpr uint16_t kNone = 0xffff;

  template <class Match>
  void remove_if(Match match);
  template <class Match>
  bool join_if(Match match, base::Arena& arena, std::string_view& value) const;
  std::string_view spelling_in_head(std::string_view name) const;
  void reindex();
  void remove_at(uint32_t at);  // of the only field of its name
  void set_at(uint32_t at, std::string_view value);

  base::Arena* arena_;
  Header* fields_ = nullptr;
  uint32_t size_ = 0, capacity_ = 0;
  size_t bytes_ = 0;
  std::string_view head_;
  std::array<uint16_t, kHeaderIdCount> first_;
};

// ASCII only, as field names and hosts are compared.
bool equals_ignore_case(std::string_view a, std::string_view b);
bool contains_token(std::string_view list, std::string_view lower_case_token);
std::string_view trim(std::string_view text);

}  // namespace pinnace::http
