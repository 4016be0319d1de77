// What becomes of the filtered fields: SSIM, hybrid score, sums, derivative fields, gradients; formulas as
// in ssim_l1.h and README.md. Include only from ssim_l1_cuda.cu.
//
// A thread brings f[r] = its pair's two filtered fields at row r of four and gets the other pair's terms
// from lane ^ 16. SSIM's formula treats u and v alike: with
//
//   O1, O2 = Q1, Q2 in the lanes of u and P1, P2 in those of v ("own")      X1, X2 the other way round
//   B = O + X, D = O - X     SSIM = D1 D2 / (B1 B2)     1 - SSIM = 2 (O1 X2 + X1 O2) / (B1 B2)
//
// and, M being the pair's mean and V its variance,
//
//   dSSIM/dV = D1 X2 / (B1 B2^2)      dSSIM/dM = 2 M D2 X1 / (B1^2 B2)
//
// both lanes run the same code.
#pragma once
#include "ssim_l1/tile.cuh"

namespace dal {
namespace cuda {
namespace {

struct Totals {
  double l1 = 0, dissimilarity = 0;  // sums of |x - y| and 1 - SSIM
};

struct Constants {
  float c1, c2;
};

__device__ __forceinline__ float other(float own) { return __shfl_xor_sync(kFullMask, own, 16); }

// O1, O2 and M of one voxel. What rounding makes a negative variance is 0, so that |SSIM| <= 1 holds in
// floating point too. A NaN passes.
struct Own {
  float first, second, mean;

  __device__ Own(const float (&f)[2], float shift, float c1, float c2) {
    const float variance = f[1] - f[0] * f[0];
    mean = f[0] + shift;
    first = 0.5f * mean * mean + c1;
    second = 0.5f * (variance < 0 ? 0.0f : variance) + c2;
  }
};

// The constants of a thread's pair.
struct PairConstants {
  float shift, c1, c2;  // s - t, 0, 0 for u; s + t, c1, c2 for v

  __device__ PairConstants(Shift s, Constants c, int pair)
      : shift(pair ? s.x + s.y : s.x - s.y), c1(pair ? c.c1 : 0.0f), c2(pair ? c.c2 : 0.0f) {}
};

// out = SSIM or |x - y| (1 - SSIM). Of a thread's four rows the lanes of u finish the first two, those of v
// the others.
struct MapWork {
  Inputs in;
  Shape shape;
  Constants constants;
  void* out;
  bool hybrid;

  __device__ void operator()(const Tile& tile, const Place& place, int z, Shift shift,
                             const float (&f)[kRows][2], Totals&) const {
    const PairConstants c(shift, constants, place.pair);
    Own own[kRows] = {{f[0], c.shift, c.c1, c.c2},
                      {f[1], c.shift, c.c1, c.c2},
                      {f[2], c.shift, c.c1, c.c2},
                      {f[3], c.shift, c.c1, c.c2}};
    const bool second = place.pair == 1;
    const int x = tile.x0 + place.x;
#pragma unroll
    for (int i = 0; i < kRows / 2; ++i) {
      const Own &a = own[i], &b = own[i + 2];
      const float o1 = second ? b.first : a.first, o2 = second ? b.second : a.second;
      const float x1 = other(second ? a.first : b.first), x2 = other(second ? a.second : b.second);
      const int y = tile.y0 + place.y + i + (second ? 2 : 0);
      if (x < shape.width && y < shape.height) {
        const int64_t at = tile.row(shape, z, y) * shape.width + x;
        store(value(o1, o2, x1, x2, at), out, at, in.dtype);
      }
    }
  }
  __device__ float value(float o1, float o2, float x1, float x2, int64_t at) const {
    const float above = hybrid ? 2.0f * (o1 * x2 + x1 * o2) : (o1 - x1) * (o2 - x2);
    const float ratio = above / ((o1 + x1) * (o2 + x2));
    return hybrid ? ratio * fabsf(load(in.x, at, in.dtype) - load(in.y, at, in.dtype)) : ratio;
  }
  __device__ void finish(const Totals&) const {}
};

// The derivatives of sum(g * SSIM) by the fields, and the sums when there is no g (then it is 1).
struct FieldWork {
  Inputs in;
  Shape shape;
  Constants constants;
  const void* grad;  // g, or null
  float* fields;  // (volumes, depth, height, 4, padded), or null
  int64_t padded;
  double* partial;  // (blocks, 2): the sums of each block, when there is no g

  __device__ void operator()(const Tile& tile, const Place& place, int z, Shift shift,
                             const float (&f)[kRows][2], Totals& totals) const {
    const PairConstants c(shift, constants, place.pair);
    const int x = tile.x0 + place.x;
    float l1 = 0, dissimilarity = 0;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const Own own(f[r], c.shift, c.c1, c.c2);
      const float x1 = other(own.first), x2 = other(own.second);
      const int y = tile.y0 + place.y + r;
      if (x >= shape.width || y >= shape.height) continue;
      const int64_t row = tile.row(shape, z, y), at = row * shape.width + x;
      const float b1 = own.first + x1, b2 = own.second + x2, reciprocal = 1.0f / (b1 * b2);
      if (!grad && r / 2 == place.pair) {  // each voxel once
        l1 += fabsf(load(in.x, at, in.dtype) - load(in.y, at, in.dtype));
        dissimilarity += 2.0f * (own.first * x2 + x1 * own.second) * reciprocal;
      }
      if (!fields) continue;
      const float weight = grad ? load(grad, at, in.dtype) * reciprocal : reciprocal;
      const float by_variance = weight * (own.first - x1) * (x2 * (b1 * reciprocal));
      const float by_mean = 2.0f * weight * own.mean * (own.second - x2) * (x1 * (b2 * reciprocal));
      float* const to = fields + (row * 4 + 2 * place.pair) * padded + x;
      to[0] = by_mean - 2.0f * f[r][0] * by_variance;
      to[padded] = by_variance;
    }
    totals.l1 += l1;
    totals.dissimilarity += dissimilarity;
  }

  // The block's sums, in a fixed order: over the lanes of a warp, then over the warps.
  __device__ void finish(Totals t) const {
    __shared__ double sums[kThreads / 32][2];
    if (grad) return;
    for (int distance = 16; distance > 0; distance /= 2) {
      t.l1 += __shfl_down_sync(kFullMask, t.l1, distance);
      t.dissimilarity += __shfl_down_sync(kFullMask, t.dissimilarity, distance);
    }
    if (threadIdx.x % 32 == 0) {
      sums[threadIdx.x / 32][0] = t.l1;
      sums[threadIdx.x / 32][1] = t.dissimilarity;
    }
    __syncthreads();
    if (threadIdx.x >= 2) return;
    double sum = 0;
    for (int warp = 0; warp < kThreads / 32; ++warp) sum += sums[warp][threadIdx.x];
    partial[int64_t(blockIdx.x) * 2 + threadIdx.x] = sum;
  }
};

// From the filtered derivatives to the gradients: by u  a = f0 + 2 u f1,  by v  b = f0 + 2 v f1 of the
// other lanes,  by x  b + a,  by y  b - a. The lanes of u finish grad_x, those of v grad_y.
struct GradientWork {
  Inputs in;
  Shape shape;
  const double* upstream;  // one number, or null
  double scale, l1;
  void *grad_x, *grad_y;  // null: not wanted

  __device__ void operator()(const Tile& tile, const Place& place, int z, Shift shift,
                             const float (&f)[kRows][2], Totals&) const {
    const double up = upstream ? *upstream : 1.0;
    const float by_ssim = float(up * scale), by_l1 = float(up * l1);
    const float sign = place.pair ? -1.0f : 1.0f;
    void* const out = place.pair ? grad_y : grad_x;
    const int x = tile.x0 + place.x;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int y = tile.y0 + place.y + r;
      const bool inside = x < shape.width && y < shape.height;
      const int64_t at = tile.row(shape, z, y) * shape.width + x;
      const float a = inside ? load(in.x, at, in.dtype) : 0.0f,
                  b = inside ? load(in.y, at, in.dtype) : 0.0f;
      const float own = (a - shift.x) - sign * (b - shift.y);  // u or v
      const float by_own = by_ssim * (f[r][0] + 2.0f * own * f[r][1]);
      const float step = (a > b ? by_l1 : 0.0f) - (a < b ? by_l1 : 0.0f);
      const float gradient = by_own + sign * (other(by_own) + step);
      if (inside && out) store(gradient, out, at, in.dtype);
    }
  }
  __device__ void finish(const Totals&) const {}
};

}  // namespace
}  // namespace cuda
}  // namespace dal
