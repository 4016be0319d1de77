// Where a long computation may end early: checkpoint() calls what its caller has named, which throws to end
// it. Without, nothing happens. Only between kernels, never inside parallel_for.
//
//   const UseCheckpoint use(&watch, [](const void* watch) { ... });  // until the end of the scope, in this
//   ...                                                              // thread
#pragma once

namespace dal {

struct Checkpoint {
  const void* user = nullptr;
  void (*look)(const void*) = nullptr;
};

inline Checkpoint& current_checkpoint() {
  static thread_local Checkpoint current;
  return current;
}

inline void checkpoint() {
  const Checkpoint& current = current_checkpoint();
  if (current.look) current.look(current.user);
}

class UseCheckpoint {
 public:
  UseCheckpoint(const void* user, void (*look)(const void*)) : before_(current_checkpoint()) {
    current_checkpoint() = {user, look};
  }
  ~UseCheckpoint() { current_checkpoint() = before_; }
  UseCheckpoint(const UseCheckpoint&) = delete;
  UseCheckpoint& operator=(const UseCheckpoint&) = delete;

 private:
  const Checkpoint before_;
};

}  // namespace dal
