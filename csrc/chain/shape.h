// What the stages of the chain between the networks share: the shape of a volume, and a workspace in parts.
//
// Every stage of csrc/chain takes contiguous volumes (depth, height, width), float32, with the patient's
// right at the highest depth; masks are bytes, 0 or not. It allocates nothing: NAME_workspace says how many
// bytes NAME needs, and the caller gives them, aligned to 64 bytes. `threads` is how many of the caller's
// pool it may use: that of the UsePool in scope (pool.h), or the process's. Results are the same bits for
// any number of threads and on every instruction set.
#pragma once
#include <cstddef>
#include <cstdint>

namespace dal {

struct Shape {
  int64_t depth, height, width;
  constexpr int64_t voxels() const { return depth * height * width; }
};

// Hands out parts of a workspace, each aligned to 64 bytes. Without memory it only adds up what is needed.
class Parts {
 public:
  explicit Parts(void* workspace) : base_(static_cast<char*>(workspace)) {}

  template <class T>
  __attribute__((always_inline)) T* take(int64_t count) {
    T* const part = base_ ? reinterpret_cast<T*>(base_ + used_) : nullptr;
    used_ += (count * int64_t(sizeof(T)) + 63) / 64 * 64;
    return part;
  }
  __attribute__((always_inline)) int64_t used() const { return used_; }

 private:
  char* base_;
  int64_t used_ = 0;
};

}  // namespace dal
