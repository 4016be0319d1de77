// Memory of an engine and its sessions: the host's, through the hooks of dal_options, or malloc's.
#pragma once
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

namespace dal {

class Memory {
 public:
  using Allocate = void* (*)(void* user, size_t bytes, size_t alignment);
  using Release = void (*)(void* user, void* memory, size_t bytes);

  Memory() = default;  // malloc
  Memory(Allocate allocate, Release release, void* user)
      : allocate_(allocate), release_(release), user_(user) {}

  static constexpr size_t kAlignment = 64;

  // Throws Failure (DAL_MEMORY).
  void* take(size_t bytes) const;
  void give(void* memory, size_t bytes) const noexcept;

  template <class T, class... Arguments>
  T* make(Arguments&&... arguments) const {
    void* const place = take(sizeof(T));
    try {
      return new (place) T(std::forward<Arguments>(arguments)...);
    } catch (...) {
      give(place, sizeof(T));
      throw;
    }
  }
  template <class T>
  void destroy(T* object) const noexcept {
    if (!object) return;
    object->~T();
    give(object, sizeof(T));
  }

 private:
  Allocate allocate_ = nullptr;
  Release release_ = nullptr;
  void* user_ = nullptr;
};

// A block of it that goes with its owner.
class Block {
 public:
  explicit Block(const Memory& memory) : memory_(memory) {}
  // What was taken already.
  Block(const Memory& memory, void* taken, size_t bytes) : memory_(memory), start_(taken), bytes_(bytes) {}
  ~Block() { release(); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  void* allocate(size_t bytes) {
    release();
    start_ = memory_.take(bytes);
    bytes_ = bytes;
    return start_;
  }
  void release() noexcept {
    if (start_) memory_.give(start_, bytes_);
    start_ = nullptr;
    bytes_ = 0;
  }
  void* start() const { return start_; }
  size_t bytes() const { return bytes_; }

 private:
  const Memory& memory_;
  void* start_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace dal
