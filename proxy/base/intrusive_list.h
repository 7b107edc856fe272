// A doubly linked list whose links live in its elements: O(1) removal, no allocation.
// An element is in at most one list per link base. LIFETIME: an element unlinks itself when destroyed.
#pragma once

namespace pinnace::base {

struct ListLink {
  ListLink* prev = nullptr;
  ListLink* next = nullptr;

  ListLink() = default;
  ListLink(const ListLink&) = delete;
  ListLink& operator=(const ListLink&) = delete;
  ~ListLink() { unlink(); }

  bool linked() const { return next != nullptr; }
  void unlink() {
    if (!next) return;
    prev->next = next;
    next->prev = prev;
    prev = next = nullptr;
  }
};

// T derives from Link (a type derived from ListLink, so that one element may be in several lists).
template <class T, class Link = ListLink>
class IntrusiveList {
 public:
  IntrusiveList() { head_.prev = head_.next = &head_; }
  ~IntrusiveList() {
    while (!empty()) head_.next->unlink();
    head_.next = head_.prev = nullptr;
  }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;

  bool empty() const { return head_.next == &head_; }
  T& front() { return cast(head_.next); }
  T& back() { return cast(head_.prev); }
  void push_back(T& element) { insert_before(&head_, link(element)); }
  void push_front(T& element) { insert_before(head_.next, link(element)); }
  T* pop_front() {
    if (empty()) return nullptr;
    T& first = front();
    link(first)->unlink();
    return &first;
  }
  // Moves every element of `other` to the end of this list.
  void splice(IntrusiveList& other) {
    while (T* element = other.pop_front()) push_back(*element);
  }

  class Iterator {
   public:
    explicit Iterator(ListLink* at) : at_(at) {}
    T& operator*() const { return cast(at_); }
    Iterator& operator++() {
      at_ = at_->next;
      return *this;
    }
    bool operator!=(const Iterator& other) const { return at_ != other.at_; }

   private:
    ListLink* at_;
  };
  Iterator begin() { return Iterator(head_.next); }
  Iterator end() { return Iterator(&head_); }

 private:
  static ListLink* link(T& element) { return static_cast<Link*>(&element); }
  static T& cast(ListLink* at) { return static_cast<T&>(static_cast<Link&>(*at)); }
  static void insert_before(ListLink* at, ListLink* element) {
    element->prev = at->prev;
    element->next = at;
    at->prev->next = element;
    at->prev = element;
  }

  ListLink head_;
};

}  // namespace pinnace::base
