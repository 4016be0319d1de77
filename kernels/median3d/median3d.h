// Exact median over a cube.
//
//   out(v) = m(v) median{ x(u) : |u - v|_inf <= r },  r = 1 or 2; size = 2 r + 1
//   size 4 (CPU only): the upper of the two middle values of v - 2 .. v + 1 along each axis
//
// The edge voxel repeats outside (c b a | a b c | c b a). NaN counts as larger than +inf, so the median
// is NaN where more than half of the cube is. m: mask, 1 without one.
#pragma once
#include <cstdint>

#include "dtype.h"
#include "isa.h"

namespace dal {

// Contiguous (batch, channels, depth, height, width); size is 3, 4 or 5.
struct Median3dShape {
  int64_t batch, channels, depth, height, width;
  int size;
};

// Bytes of workspace that median3d needs for the same shape, dtype and threads.
DAL_DECLARE(int64_t median3d_workspace(Median3dShape shape, DType dtype, int threads))

// x, out: (batch, channels, depth, height, width), not overlapping; mask: bool (batch, 1, depth, height,
// width) or null.
DAL_DECLARE(void median3d(const void* x, const uint8_t* mask, void* out, void* workspace,
                          Median3dShape shape, DType dtype, int threads))

// The same on a GPU: device pointers, the caller's stream; float32, float16, bfloat16. Neither allocates
// nor synchronises.
namespace cuda {
int64_t median3d_workspace(Median3dShape shape, DType dtype);
void median3d(const void* x, const uint8_t* mask, void* out, void* workspace, Median3dShape shape,
              DType dtype, void* stream);
}  // namespace cuda

}  // namespace dal
