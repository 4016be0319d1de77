// A shared library with an engine of its own, as libdal_fast is to have: see tests/test_parallel.py.
#include <cstdint>

#include "parallel.h"
#include "pool.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

// Counts every task once; tasks have tasks of their own.
int64_t count(int64_t tasks, int threads) {
  int64_t sums[64] = {};
  dal::parallel_for(tasks, threads, [&](int64_t task, int slot) {
    int64_t inner[2] = {};
    dal::parallel_for(2, 2, [&](int64_t i, int) { inner[i] = task + 1; });
    sums[slot] += inner[0] + inner[1];
  });
  int64_t sum = 0;
  for (const int64_t own : sums) sum += own;
  return sum;
}

}  // namespace

EXPORT void* engine_open() { return new dal::ThreadPool; }
EXPORT void engine_close(void* engine) { delete static_cast<dal::ThreadPool*>(engine); }
// Twice the sum of 1 to `tasks`, on at most `threads` <= 64 threads of the engine.
EXPORT int64_t engine_run(void* engine, int64_t tasks, int threads) {
  const dal::UsePool use(*static_cast<dal::ThreadPool*>(engine));
  return count(tasks, threads);
}
// The same on the process's own pool.
EXPORT int64_t run_without_engine(int64_t tasks, int threads) { return count(tasks, threads); }
