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
#include <cstdint>

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

  // Starts threads for callers that will ask for `helpers` beside themselves, all together; without it they
  // are started when they are first asked for. Fewer where the system has no more to give.
  void reserve(int helpers);

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

// Threads that the host of the library lends: `run` calls task(context, i, slot) once for every i in
// [0, tasks), on at most `threads` threads, and returns when all have returned. A slot lies in [0, threads)
// and is held by one thread at a time.
struct Executor {
  void* user;
  void (*run)(void* user, int64_t tasks, int32_t threads, void (*task)(void*, int64_t, int32_t),
              void* context);
};

// As UsePool; an executor comes before a pool.
class UseExecutor {
 public:
  explicit UseExecutor(const Executor& executor);
  ~UseExecutor();
  UseExecutor(const UseExecutor&) = delete;
  UseExecutor& operator=(const UseExecutor&) = delete;

 private:
  const Executor* const before_;
};

}  // namespace dal
