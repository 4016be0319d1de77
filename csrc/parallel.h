// A small thread pool: tasks are claimed one by one, the caller works too, several Python threads
// may call at the same time, and a forked child starts its own workers.
//
// Kernels must give the same bits for every thread count: a task writes only its own outputs, and
// sums are kept per task and added in task order afterwards.
#pragma once
#include <cstdint>
#include <type_traits>

namespace dal {

// Calls fn(context, task, slot) for task in [0, tasks), on at most `threads` threads. `slot` lies in
// [0, threads) and is held by one thread at a time: index per-thread scratch with it.
// An exception must not leave fn.
void run_tasks(int64_t tasks, int threads, void (*fn)(void*, int64_t, int), void* context);

template <class F>
void parallel_for(int64_t tasks, int threads, F&& body) {
  using Body = typename std::remove_reference<F>::type;
  run_tasks(
      tasks, threads,
      [](void* context, int64_t task, int slot) { (*static_cast<Body*>(context))(task, slot); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace dal
