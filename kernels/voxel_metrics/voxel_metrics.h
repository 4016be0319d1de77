// Histogram of anomaly scores, lesion and healthy voxels apart, over order-preserving float keys.
//
//   key(s)  = b ^ 0x80000000 for s >= 0,  ~b for s < 0,   b = bits of float(s), -0 counted as +0
//             (uint32; s < t  <=>  key(s) < key(t), infinities included)
//   page(s) = key(s) >> 16                              65,536 pages, 1/128 of an octave each
//   bin(s)  = base[page(s)] + ((key(s) & 0xffff) >> shift)
//
// Only pages that hold a score get bins, so the first pass (score_pages) marks them, and the caller
// chooses `shift` such that all their bins fit. Per bin: the number of healthy and of lesion voxels,
// and the lowest and highest key seen.
#pragma once
#include <cstdint>

#include "dtype.h"
#include "isa.h"

namespace dal {

constexpr int64_t kScorePages = 1 << 16;

struct ScoreBins {
  const int32_t* base;  // (kScorePages) first bin of a page that score_pages marks; -1: it is absent
  int shift;  // log2 of keys per bin, 0 to 16
  int64_t bins;
};

// score: (voxels) of `dtype`; mask: (voxels) or null, voxels to look at.
// pages: (kScorePages), 1 where a score inside falls, else 0. nans: (1), the number of NaN inside.
DAL_DECLARE(void score_pages(const void* score, const uint8_t* mask, int64_t voxels, uint8_t* pages,
                             int64_t* nans, DType dtype, int threads))

// Bytes of scratch, 8-byte aligned, that score_histogram needs.
DAL_DECLARE(int64_t score_histogram_workspace(int64_t bins, int threads))

// target: (voxels), nonzero where lesion. counts: (bins, 2) healthy, lesion. span: (bins, 2) lowest and
// highest key, {2^32 - 1, 0} where empty. Counters in the scratch have 32 bits: there they are emptied
// into `counts` after every `segment` <= 2^31 voxels; a GPU counts in 64 bits and ignores it.
DAL_DECLARE(void score_histogram(const void* score, const uint8_t* target, const uint8_t* mask,
                                 int64_t voxels, ScoreBins bins, int64_t segment, void* workspace,
                                 int64_t* counts, int64_t* span, DType dtype, int threads))

// The same on a GPU: device pointers, the caller's stream; float32, float16, bfloat16. Neither allocates
// nor synchronises.
namespace cuda {
int64_t score_histogram_workspace(int64_t bins);
void score_pages(const void* score, const uint8_t* mask, int64_t voxels, uint8_t* pages, int64_t* nans,
                 DType dtype, void* stream);
void score_histogram(const void* score, const uint8_t* target, const uint8_t* mask, int64_t voxels,
                     ScoreBins bins, int64_t segment, void* workspace, int64_t* counts, int64_t* span,
                     DType dtype, void* stream);
}  // namespace cuda

}  // namespace dal
