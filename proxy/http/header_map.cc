#include "proxy/http/header_map.h"

#include <utility>

namespace pinnace::http {

void HeaderMap::add(HeaderId id, std::string_view name, std::string_view value) {
  if (size_ == capacity_) {
    uint32_t capacity = capacity_ == 0 ? 24 : capacity_ * 2;
    auto* fields = arena_->take_array<Header>(capacity);
    for (uint32_t i = 0; i < size_; i++) fields[i] = fields_[i];
    fields_ = fields;
    capacity_ = capacity;
  }
  uint16_t& first = first_[static_cast<size_t>(id)];
  if (first == kNone && id != HeaderId::kOther) first = static_cast<uint16_t>(size_);
  bytes_ += name.size() + value.size();
  fields_[size_++] = {name, value, id};
}

const Header* HeaderMap::find(std::string_view name) const {
  HeaderId id = header_id(name);
  if (id != HeaderId::kOther) {
    uint16_t at = first_[static_cast<size_t>(id)];
    return at == kNone ? nullptr : fields_ + at;
  }
  for (const Header& field : *this) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

template <class Match>
bool HeaderMap::join_if(Match match, base::Arena& arena, std::string_view& value) const {
  size_t count = 0, length = 0;
  for (const Header& field : *this) {
    if (!match(field)) continue;
    if (count++ == 0) value = field.value;
    length += field.value.size() + 1;
  }
  if (count < 2) return count == 1;
  char* text = arena.take_chars(length);
  size_t at = 0;
  bool first = true;
  for (const Header& field : *this) {
    if (!match(field)) continue;
    if (!std::exchange(first, false)) text[at++] = ',';
    if (!field.value.empty()) std::memcpy(text + at, field.value.data(), field.value.size());
    at += field.value.size();
  }
  value = {text, at};
  return true;
}

bool HeaderMap::joined(std::string_view name, base::Arena& arena, std::string_view& value) const {
  HeaderId id = header_id(name);
  if (id != HeaderId::kOther) return joined(id, arena, value);
  return join_if([&](const Header& field) { return field.name == name; }, arena, value);
}

bool HeaderMap::joined(HeaderId id, base::Arena& arena, std::string_view& value) const {
  if (!has(id)) return false;
  return join_if([&](const Header& field) { return field.id == id; }, arena, value);
}

void HeaderMap::reindex() {
  first_.fill(kNone);
  for (uint32_t i = size_; i-- > 0;) {
    if (fields_[i].id != HeaderId::kOther) first_[static_cast<size_t>(fields_[i].id)] = static_cast<uint16_t>(i);
  }
}

template <class Match>
void HeaderMap::remove_if(Match match) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < size_; i++) {
    if (match(fields_[i])) {
      bytes_ -= fields_[i].name.size() + fields_[i].value.size();
    } else if (kept++ != i) {
      fields_[kept - 1] = fields_[i];
    }
  }
  if (kept == size_) return;
  size_ = kept;
  reindex();
}

// What follows moves up by one, and so do the places of those that are the first of their name.
void HeaderMap::remove_at(uint32_t at) {
  bytes_ -= fields_[at].name.size() + fields_[at].value.size();
  size_--;
  for (uint32_t i = at; i < size_; i++) {
    fields_[i] = fields_[i + 1];
    uint16_t& first = first_[static_cast<size_t>(fields_[i].id)];
    if (first == i + 1) first = static_cast<uint16_t>(i);
  }
}

void HeaderMap::remove(HeaderId id) {
  uint16_t& first = first_[static_cast<size_t>(id)];
  if (first == kNone) return;
  uint32_t at = std::exchange(first, kNone);
  bool more = false;
  for (uint32_t i = at + 1; i < size_ && !more; i++) more = fields_[i].id == id;
  if (!more) return remove_at(at);
  remove_if([&](const Header& field) { return field.id == id; });
}

void HeaderMap::remove(std::string_view name) {
  HeaderId id = header_id(name);
  if (id != HeaderId::kOther) return remove(id);
  remove_if([&](const Header& field) { return field.name == name; });
}

// The first field of the name takes the value where it stands; the others go.
void HeaderMap::set_at(uint32_t at, std::string_view value) {
  bytes_ += value.size();
  bytes_ -= fields_[at].value.size();
  fields_[at].value = value;
  HeaderId id = fields_[at].id;
  std::string_view name = fields_[at].name;
  const Header* kept = fields_ + at;
  bool more = false;
  for (uint32_t i = at + 1; i < size_ && !more; i++) more = fields_[i].id == id && fields_[i].name == name;
  if (more) remove_if([&](const Header& field) { return &field != kept && field.id == id && field.name == name; });
}

void HeaderMap::set(HeaderId id, std::string_view value) {
  uint16_t at = first_[static_cast<size_t>(id)];
  if (at == kNone) return add(id, value);
  set_at(at, value);
}

void HeaderMap::set(std::string_view name, std::string_view value) {
  HeaderId id = header_id(name);
  if (id != HeaderId::kOther) return set(id, value);
  for (uint32_t i = 0; i < size_; i++) {
    if (fields_[i].name == name) return set_at(i, value);
  }
  add(HeaderId::kOther, name, value);
}

void HeaderMap::append_to(HeaderId id, std::string_view separator, std::string_view value) {
  std::string_view old;
  if (!joined(id, *arena_, old) || old.empty()) return set(id, value);
  char* text = arena_->take_chars(old.size() + separator.size() + value.size());
  std::memcpy(text, old.data(), old.size());
  std::memcpy(text + old.size(), separator.data(), separator.size());
  if (!value.empty()) std::memcpy(text + old.size() + separator.size(), value.data(), value.size());
  set(id, {text, old.size() + separator.size() + value.size()});
}

std::string_view HeaderMap::spelling_in_head(std::string_view name) const {
  for (size_t at = head_.find('\n'); at != std::string_view::npos; at = head_.find('\n', at + 1)) {
    std::string_view line = head_.substr(at + 1);
    if (line.size() <= name.size() || line[name.size()] != ':') continue;
    if (equals_ignore_case(line.substr(0, name.size()), name)) return line.substr(0, name.size());
  }
  return name;
}

void HeaderMap::clear() {
  fields_ = nullptr;
  size_ = capacity_ = 0;
  bytes_ = 0;
  first_.fill(kNone);
}

bool equals_ignore_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); i++) {
    auto fold = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; };
    if (fold(a[i]) != fold(b[i])) return false;
  }
  return true;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool contains_token(std::string_view list, std::string_view token) {
  while (!list.empty()) {
    size_t comma = list.find(',');
    if (equals_ignore_case(trim(list.substr(0, comma)), token)) return true;
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
  return false;
}

}  // namespace pinnace::http
