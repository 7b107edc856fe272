// Recycled: gives a class a free list of its own memory per thread, so that making one on the request path allocates
// nothing in steady state. `kKept` blocks are kept at most. REQUIRES: T is final and freed on the thread that made it.
#pragma once

#include <cstddef>
#include <new>

namespace pinnace::base {

template <class T, size_t kKept>
class Recycled {
 public:
  static void* operator new(size_t size) {
    List& list = free_list();
    if (!list.head) return ::operator new(size);
    void* memory = list.head;
    list.head = *static_cast<void**>(memory);
    list.count--;
    return memory;
  }
  static void operator delete(void* memory) {
    List& list = free_list();
    if (list.count >= kKept) return ::operator delete(memory);
    *static_cast<void**>(memory) = list.head;
    list.head = memory;
    list.count++;
  }

 private:
  struct List {
    void* head = nullptr;
    size_t count = 0;
    ~List() {
      while (head) {
        void* next = *static_cast<void**>(head);
        ::operator delete(head);
        head = next;
      }
    }
  };
  static List& free_list() {
    static thread_local List list;
    return list;
  }
};

}  // namespace pinnace::base
