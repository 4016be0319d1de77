// Order statistics of the values inside a mask, exactly: a histogram of the bits of float32, three times.
#pragma once
#include <cstdint>

#include "isa.h"

namespace dal {

// How many of the values inside the mask are below and above 0, and how many there are.
struct SelectionCounts {
  int64_t inside, negative, positive;
};

constexpr int64_t kSelectionDigits = int64_t(1) << 11;
constexpr int64_t selection_workspace(int threads) {  // bytes
  return threads * kSelectionDigits * int64_t(sizeof(int64_t));
}

// x: n values; mask: bool, n.
DAL_DECLARE(SelectionCounts selection_counts(const float* x, const uint8_t* mask, int64_t n, int threads))

// The value of rank k, from 0, among the values inside the mask, or all without one, or among those above 0
// of them; k lies below their number. -0 comes before +0; a NaN is above or below all numbers, by its sign.
DAL_DECLARE(float selection_kth(const float* x, const uint8_t* mask, int64_t n, int64_t k, bool positive,
                                void* workspace, int threads))

// The lower median of the numbers of each row, NaN for a row without any, on a GPU: device pointers, the
// caller's stream; neither allocates nor synchronises. x: (rows, n), n below 2^31; medians: (rows).
namespace cuda {
int64_t row_medians_workspace(int64_t rows, int64_t n);  // bytes
void row_medians(const float* x, int64_t rows, int64_t n, float* medians, void* workspace, void* stream);
}  // namespace cuda

}  // namespace dal
