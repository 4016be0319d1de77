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

__device__ __forceinline__ float other(float own) { return __shfl_xor_sync(kAllLanes, own, 16); }

// What differs between the pairs: of u  s - t, 0, 0, s;  of v  s + t, c1, c2, t.
struct alignas(16) PairConstants {
  float shift, c1, c2, input;
};

// What a block's threads share. It is read from shared memory after every barrier: in registers it would
// displace sums in flight.
struct Shared {
  Shift shift;
  PairConstants pairs[2];
  float by_ssim, by_l1;  // factors of the gradients

  __device__ void fill(const Inputs& in, int64_t volume) {
    const Shift s = shift = in.shifts[volume];
    pairs[0] = {s.x - s.y, 0.0f, 0.0f, s.x};
    pairs[1] = {s.x + s.y, in.c1, in.c2, s.y};
  }
};

// O1, O2 and M of one voxel. What rounding makes a negative variance is 0, so that |SSIM| <= 1 holds in
// floating point too. A NaN passes.
struct Own {
  float first, second, mean;

  __device__ Own(const float (&f)[2], const PairConstants& c) {
    const float variance = f[1] - f[0] * f[0];
    mean = f[0] + c.shift;
    first = 0.5f * mean * mean + c.c1;
    second = 0.5f * (variance < 0 ? 0.0f : variance) + c.c2;
  }
};

// |x - y| at two rows of four, the first two for the lanes of u and the others for those of v.
struct HalfRows {
  Inputs in;
  Shape shape;

  __device__ static int row(const Place& place) { return place.y + place.pair * (kRows / 2); }
  __device__ void load(const Tile& tile, const Place& place, int z, uint32_t (&v)[kRows]) const {
    const int64_t corner = tile.corner(shape, z);
    int at = row(place) * shape.width + place.x;
#pragma unroll
    for (int r = 0; r < kRows / 2; ++r, at += shape.width) {
      if (!place.inside(tile, shape, row(place) + r)) continue;
      v[2 * r] = load_bits(in.x, corner, at, in.dtype);
      v[2 * r + 1] = load_bits(in.y, corner, at, in.dtype);
    }
  }
  __device__ float distance(const uint32_t (&v)[kRows], int r) const {
    return fabsf(decode(v[2 * r], in.dtype) - decode(v[2 * r + 1], in.dtype));
  }
};

// out = SSIM or |x - y| (1 - SSIM). A thread finishes half its rows.
struct MapWork {
  static constexpr bool kTight = false;  // whether registers are too few to keep indices
  HalfRows half;
  void* out;
  bool hybrid;

  __device__ Inputs& inputs() { return half.in; }
  __device__ void fill(Shared&) const {}
  __device__ void load(const Tile& tile, const Place& place, int z, uint32_t (&v)[kRows]) const {
    if (hybrid) half.load(tile, place, z, v);
  }
  __device__ void combine(const Tile& tile, const Place& place, int z, const Shared& shared,
                          const uint32_t (&v)[kRows], const float (&f)[kRows][2], Totals&) const {
    const PairConstants c = shared.pairs[place.pair];
    const Own own[kRows] = {{f[0], c}, {f[1], c}, {f[2], c}, {f[3], c}};
    const bool second = place.pair == 1;
    const int64_t corner = tile.corner(half.shape, z);
    int at = half.row(place) * half.shape.width + place.x;
#pragma unroll
    for (int r = 0; r < kRows / 2; ++r, at += half.shape.width) {
      const Own &a = own[r], &b = own[r + kRows / 2];
      const float o1 = second ? b.first : a.first, o2 = second ? b.second : a.second;
      const float x1 = other(second ? a.first : b.first), x2 = other(second ? a.second : b.second);
      const float above = hybrid ? 2.0f * (o1 * x2 + x1 * o2) : (o1 - x1) * (o2 - x2);
      const float ratio = __fdividef(above, (o1 + x1) * (o2 + x2));
      if (place.inside(tile, half.shape, half.row(place) + r))
        store(hybrid ? half.distance(v, r) * ratio : ratio, out, corner, at, half.in.dtype);
    }
  }
  __device__ void finish(const Totals&) const {}
};

// The derivatives of sum(g * SSIM) by the fields, and the sums when there is no g (then it is 1).
struct FieldWork {
  static constexpr bool kTight = true;
  HalfRows half;
  const void* grad;  // g, or null
  float* fields;  // (volumes, depth, height, 4, padded), or null
  int padded;
  double* partial;  // (blocks, 2): the sums of each block, when there is no g

  __device__ Inputs& inputs() { return half.in; }
  __device__ void fill(Shared&) const {}
  // g at the four rows, or x and y at half of them
  __device__ void load(const Tile& tile, const Place& place, int z, uint32_t (&v)[kRows]) const {
    if (!grad) return half.load(tile, place, z, v);
    const int64_t corner = tile.corner(half.shape, z);
    int at = place.y * half.shape.width + place.x;
#pragma unroll
    for (int r = 0; r < kRows; ++r, at += half.shape.width)
      if (place.inside(tile, half.shape, place.y + r)) v[r] = load_bits(grad, corner, at, half.in.dtype);
  }
  __device__ void combine(const Tile& tile, const Place& place, int z, const Shared& shared,
                          const uint32_t (&v)[kRows], const float (&f)[kRows][2], Totals& totals) const {
    const PairConstants c = shared.pairs[place.pair];
    float* const to = fields + tile.top(half.shape, z) * 4 * padded + tile.x0;
    int at = (4 * place.y + 2 * place.pair) * padded + place.x;
    float l1 = 0, dissimilarity = 0, g[kRows] = {1, 1, 1, 1};
    if (grad) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) g[r] = decode(v[r], half.in.dtype);
    } else {
#pragma unroll
      for (int r = 0; r < kRows / 2; ++r)
        if (place.inside(tile, half.shape, half.row(place) + r)) l1 += half.distance(v, r);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r, at += 4 * padded) {
      const Own own(f[r], c);
      const float x1 = other(own.first), x2 = other(own.second);
      const float b1 = own.first + x1, b2 = own.second + x2, reciprocal = __fdividef(1.0f, b1 * b2);
      const float weight = g[r] * reciprocal;
      const float by_variance = weight * (own.first - x1) * (x2 * (b1 * reciprocal));
      const float by_mean = 2.0f * weight * own.mean * (own.second - x2) * (x1 * (b2 * reciprocal));
      if (!place.inside(tile, half.shape, place.y + r)) continue;
      if (r / (kRows / 2) == place.pair)  // each voxel once
        dissimilarity += 2.0f * (own.first * x2 + x1 * own.second) * reciprocal;
      if (!fields) continue;
      to[at] = by_mean - 2.0f * f[r][0] * by_variance;
      to[at + padded] = by_variance;
    }
    totals.l1 += l1;
    totals.dissimilarity += dissimilarity;
  }

  // The block's sums, in a fixed order: over the lanes of a warp, then over the warps.
  __device__ void finish(Totals t) const {
    __shared__ double sums[kThreads / 32][2];
    if (grad) return;
    for (int distance = 16; distance > 0; distance /= 2) {
      t.l1 += __shfl_down_sync(kAllLanes, t.l1, distance);
      t.dissimilarity += __shfl_down_sync(kAllLanes, t.dissimilarity, distance);
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

// From the filtered derivatives to the gradients. The lanes of u have x, make a = f0 + 2 u f1 and finish
// grad_x = a + b; those of v have y, make b = f0 + 2 v f1 and finish grad_y = b - a. The step l1 sign(x -
// y) is l1 sign(mine - theirs) for both.
struct GradientWork {
  static constexpr bool kTight = true;
  Inputs in;
  Shape shape;
  const double* upstream;  // one number, or null
  double scale, l1;
  void *grad_x, *grad_y;  // null: not wanted

  __device__ Inputs& inputs() { return in; }
  __device__ void fill(Shared& shared) const {
    const double up = upstream ? *upstream : 1.0;
    shared.by_ssim = float(up * scale);
    shared.by_l1 = float(up * l1);
  }
  __device__ void load(const Tile& tile, const Place& place, int z, uint32_t (&v)[kRows]) const {
    const void* const mine = place.pair ? in.y : in.x;
    const int64_t corner = tile.corner(shape, z);
    int at = place.y * shape.width + place.x;
#pragma unroll
    for (int r = 0; r < kRows; ++r, at += shape.width)
      if (place.inside(tile, shape, place.y + r)) v[r] = load_bits(mine, corner, at, in.dtype);
  }
  __device__ void combine(const Tile& tile, const Place& place, int z, const Shared& shared,
                          const uint32_t (&v)[kRows], const float (&f)[kRows][2], Totals&) const {
    const float sign = place.pair ? -1.0f : 1.0f;
    const float my_shift = shared.pairs[place.pair].input, their_shift = shared.pairs[1 - place.pair].input;
    void* const out = place.pair ? grad_y : grad_x;
    const int64_t corner = tile.corner(shape, z);
    int at = place.y * shape.width + place.x;
#pragma unroll
    for (int r = 0; r < kRows; ++r, at += shape.width) {
      const float mine = decode(v[r], in.dtype), theirs = other(mine);
      const float own = (mine - my_shift) - sign * (theirs - their_shift);  // u or v
      const float by_own = shared.by_ssim * (f[r][0] + 2.0f * own * f[r][1]);
      const float step = (mine > theirs ? shared.by_l1 : 0.0f) - (mine < theirs ? shared.by_l1 : 0.0f);
      const float gradient = by_own + sign * other(by_own) + step;
      if (out && place.inside(tile, shape, place.y + r)) store(gradient, out, corner, at, in.dtype);
    }
  }
  __device__ void finish(const Totals&) const {}
};

}  // namespace
}  // namespace cuda
}  // namespace dal
