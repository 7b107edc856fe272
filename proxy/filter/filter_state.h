// FilterState: what the filters of one stream leave for each other, one value of each type. A handful at most, so it is
// a list. THREAD: the stream's worker. LIFETIME: the stream's; destructors are not run: plain data in its arena.
#pragma once

#include <type_traits>
#include <utility>

#include "proxy/base/arena.h"

namespace pinnace::filter {

class FilterState {
 public:
  // nullptr: nobody has left one.
  template <class T>
  T* find() const {
    for (const Entry* entry = first_; entry; entry = entry->next) {
      if (entry->key == &kKey<T>) return static_cast<T*>(entry->value);
    }
    return nullptr;
  }
  template <class T>
  T& get(base::Arena& arena) {
    static_assert(std::is_trivially_destructible_v<T>);
    if (T* there = find<T>()) return *there;
    auto* value = new (arena.take(sizeof(T), alignof(T))) T();
    first_ = new (arena.take(sizeof(Entry), alignof(Entry))) Entry{first_, &kKey<T>, value};
    return *value;
  }

 private:
  template <class T>
  static constexpr char kKey = 0;  // its address tells the types apart

  struct Entry {
    Entry* next;
    const char* key;
    void* value;
  };
  Entry* first_ = nullptr;
};

}  // namespace pinnace::filter
