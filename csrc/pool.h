// Threads that belong to somebody: a library that may be unloaded must not leave any behind.
//
//   ThreadPool pool;            // of an engine; starts no thread yet
//   {
//     const UsePool use(pool);  // until the end of the scope, in this thread
//     parallel_for(...);        // on threads of `pool`
//   }
//   ...                         // ~ThreadPool joins them
//
// Without a UsePool, parallel_for uses the process's own pool, whose threads nobody joins: that suits a
// Python module, which is never unloaded.
#pragma once

namespace dal {

class Pool;

class ThreadPool {
 public:
  ThreadPool();
  // Joins every thread. No parallel_for may be going on. A forked child, which has none of the threads,
  // joins none and leaves their memory alone.
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

 private:
  friend class UsePool;
  Pool* const pool_;
};

class UsePool {
 public:
  explicit UsePool(const ThreadPool& pool);
  ~UsePool();
  UsePool(const UsePool&) = delete;
  UsePool& operator=(const UsePool&) = delete;

 private:
  Pool* const before_;
};

}  // namespace dal
