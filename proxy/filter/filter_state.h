// FilterState: what the filters of one stream or connection leave for each other, one value of each type. The values
// live in the filters that leave them; a handful at most, so it is a list. THREAD: the stream's worker. LIFETIME: a
// slot's filter outlives all that read it: filters are destroyed together, after their last call.
#pragma once

namespace pinnace::filter {

class FilterState {
  struct Entry {
    Entry* next = nullptr;
    const char* key = nullptr;
  };
  template <class T>
  static constexpr char kKey = 0;  // its address tells the types apart

 public:
  // Where a filter keeps the value that it may leave.
  template <class T>
  class Slot : Entry {
   public:
    T value{};

   private:
    friend FilterState;
  };

  // nullptr: nobody has left one.
  template <class T>
  T* find() const {
    for (Entry* entry = first_; entry; entry = entry->next) {
      if (entry->key == &kKey<T>) return &static_cast<Slot<T>*>(entry)->value;
    }
    return nullptr;
  }
  // REQUIRES: no value of that type is there.
  template <class T>
  T& leave(Slot<T>& slot) {
    slot.next = first_;
    slot.key = &kKey<T>;
    first_ = &slot;
    return slot.value;
  }
  template <class T>
  T& find_or_leave(Slot<T>& slot) {
    T* there = find<T>();
    return there ? *there : leave(slot);
  }

 private:
  Entry* first_ = nullptr;
};

}  // namespace pinnace::filter
