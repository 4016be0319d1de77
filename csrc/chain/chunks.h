// Loops over voxels, a piece of them a task.
#pragma once
#include <algorithm>
#include <cstdint>

#include "integers.h"
#include "parallel.h"

namespace dal {

// body(begin, end) for pieces of [0, count), on several threads.
template <class F>
void in_chunks(int64_t count, int threads, F&& body) {
  constexpr int64_t kChunk = 1 << 16;
  parallel_for(ceil_div(count, kChunk), threads,
               [&](int64_t task, int) { body(task * kChunk, std::min(count, (task + 1) * kChunk)); });
}

// body(i) for i in [0, count), on several threads.
template <class F>
void each(int64_t count, int threads, F&& body) {
  in_chunks(count, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i);
  });
}

}  // namespace dal
