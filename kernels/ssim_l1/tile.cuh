// How blocks and threads share a volume, and how they read it. Include only from ssim_l1_cuda.cu.
//
// A block filters a tile of 32 x 32 voxels of a plane, four fields at each voxel: F[u], F[u^2], F[v],
// F[v^2], or the four derivative fields. Lanes 0-15 of a warp hold the two fields of u (pair 0), lanes
// 16-31 those of v (pair 1), both at the same 16 columns and at four neighbouring rows:
//
//        columns 0-15  16-31
//         +----------+----------+
//         |  warp 0  |  warp 1  |  rows 0-3
//         |  warp 2  |  warp 3  |  rows 4-7
//            ...
//
// What a thread misses, the same four voxels' other pair, is one shuffle away.
#pragma once
#include "gpu.h"
#include "ssim_l1/ssim_l1.h"

namespace dal {
namespace cuda {
namespace {

constexpr int kSide = 32;  // of a tile, voxels
constexpr int kThreads = 512;
constexpr int kRows = 4;  // filtered together along y by one thread
constexpr int kMaxRadius = 16;
constexpr unsigned kFullMask = 0xffffffffu;

// The volumes and their cut into tiles_x * tiles_y * chunks tiles of `chunk` planes each.
struct Shape {
  int depth, height, width, tiles_x, tiles_y, chunks, chunk;
};

// w[d] is the weight of the tap at distance d. Passed by value, so that it lies in constant memory.
struct Weights {
  float w[kMaxRadius + 1];
};

// Shifts s (of x) and t (of y) of a volume, near the means of its finite voxels.
struct Shift {
  float x, y;
};

// A block's part: planes z0..z1-1, columns from x0, rows from y0. A row's index counts all rows of all
// volumes: (volume, z, y).
struct Tile {
  int64_t volume;
  int x0, y0, z0, z1;

  __device__ explicit Tile(const Shape& s) {
    int64_t block = blockIdx.x;
    x0 = int(block % s.tiles_x) * kSide;
    block /= s.tiles_x;
    y0 = int(block % s.tiles_y) * kSide;
    block /= s.tiles_y;
    z0 = int(block % s.chunks) * s.chunk;
    z1 = min(z0 + s.chunk, s.depth);
    volume = block / s.chunks;
  }
  __device__ int64_t row(const Shape& s, int z, int y) const {
    return (volume * s.depth + z) * s.height + y;
  }
};

// A thread's part of the tile's 32 x 32 outputs: one pair of fields at column x and rows y..y+3.
struct Place {
  int pair, x, y;

  __device__ Place() {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    pair = lane / 16;
    x = warp % 2 * 16 + lane % 16;
    y = warp / 2 * kRows;
  }
};

// Index into 0..n-1 of position i when the edge voxel repeats, c b a | a b c | c b a, as often as needed.
__device__ __forceinline__ int reflect(int i, int n) {
  i %= 2 * n;
  if (i < 0) i += 2 * n;
  return i < n ? i : 2 * n - 1 - i;
}

__device__ __forceinline__ float load(const void* p, int64_t i, DType dtype) {
  if (dtype == DType::f32) return static_cast<const float*>(p)[i];
  if (dtype == DType::f16) return to_float(static_cast<const __half*>(p)[i]);
  return to_float(static_cast<const __nv_bfloat16*>(p)[i]);
}

__device__ __forceinline__ void store(float v, void* p, int64_t i, DType dtype) {
  if (dtype == DType::f32)
    static_cast<float*>(p)[i] = v;
  else if (dtype == DType::f16)
    static_cast<__half*>(p)[i] = from_float<__half>(v);
  else
    static_cast<__nv_bfloat16*>(p)[i] = from_float<__nv_bfloat16>(v);
}

struct alignas(8) Half4 {
  __half2 low, high;
};
struct alignas(8) Bfloat4 {
  __nv_bfloat162 low, high;
};

// Elements i..i+3, aligned to four elements.
__device__ __forceinline__ float4 load4(const void* p, int64_t i, DType dtype) {
  if (dtype == DType::f32) return *reinterpret_cast<const float4*>(static_cast<const float*>(p) + i);
  float2 low, high;
  if (dtype == DType::f16) {
    const Half4 v = *reinterpret_cast<const Half4*>(static_cast<const __half*>(p) + i);
    low = __half22float2(v.low), high = __half22float2(v.high);
  } else {
    const Bfloat4 v = *reinterpret_cast<const Bfloat4*>(static_cast<const __nv_bfloat16*>(p) + i);
    low = __bfloat1622float2(v.low), high = __bfloat1622float2(v.high);
  }
  return make_float4(low.x, low.y, high.x, high.y);
}

// The two volumes. The storage type is a run-time value, the same for all threads: only loads and stores
// depend on it, and three types need not be three kernels.
struct Inputs {
  const void *x, *y;
  const Shift* shifts;
  DType dtype;
  bool aligned;  // four neighbouring voxels from a multiple of four can be read at once
};

// What is filtered, as two fields `a` and `b` of each pair. Forward: u and u^2, v and v^2.
struct Moments {
  static constexpr int kPlanes =
      2;  // staged in shared memory: u and v; the squares are made when filtering
  Inputs in;
  Shape shape;

  // x and y at four neighbouring columns, columns[0..3] or, when these are in order and inside, from c.
  __device__ void fetch(int64_t row, int c, int4 columns, float4 (&v)[2]) const {
    const int64_t at = row * shape.width;
    if (in.aligned && c >= 0 && c + 4 <= shape.width) {
      v[0] = load4(in.x, at + c, in.dtype);
      v[1] = load4(in.y, at + c, in.dtype);
    } else {
      v[0] = gather(in.x, at, columns);
      v[1] = gather(in.y, at, columns);
    }
  }
  // x and y become u and v
  __device__ static void prepare(float4 (&v)[2], Shift s) {
    const float4 d = {v[0].x - s.x, v[0].y - s.x, v[0].z - s.x, v[0].w - s.x};
    const float4 e = {v[1].x - s.y, v[1].y - s.y, v[1].z - s.y, v[1].w - s.y};
    v[0] = {d.x - e.x, d.y - e.y, d.z - e.z, d.w - e.w};
    v[1] = {d.x + e.x, d.y + e.y, d.z + e.z, d.w + e.w};
  }
  // four values of the pair's two fields; `plane` is the distance of staged planes
  __device__ static void pair(const float* at, int pair, int plane, float (&a)[4], float (&b)[4]) {
    const float4 v = *reinterpret_cast<const float4*>(at + pair * plane);
    a[0] = v.x, a[1] = v.y, a[2] = v.z, a[3] = v.w;
    for (int i = 0; i < 4; ++i) b[i] = a[i] * a[i];
  }
  // all four fields of one voxel
  __device__ void voxel(int64_t row, int c, Shift s, float2 (&f)[2]) const {
    const int64_t at = row * shape.width + c;
    const float d = load(in.x, at, in.dtype) - s.x, e = load(in.y, at, in.dtype) - s.y;
    const float u = d - e, v = d + e;
    f[0] = {u, u * u};
    f[1] = {v, v * v};
  }

 private:
  __device__ float4 gather(const void* p, int64_t at, int4 c) const {
    return {load(p, at + c.x, in.dtype), load(p, at + c.y, in.dtype), load(p, at + c.z, in.dtype),
            load(p, at + c.w, in.dtype)};
  }
};

// Backward: the derivatives by F[u] and F[u^2], by F[v] and F[v^2], as `fields` lies in memory.
struct Derivatives {
  static constexpr int kPlanes = 4;
  const float* fields;  // (volumes, depth, height, 4, padded)
  int64_t padded;
  Shape shape;
  Inputs in;  // not filtered

  __device__ void fetch(int64_t row, int c, int4 columns, float4 (&v)[4]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* p = fields + (row * 4 + i) * padded;
      if (c >= 0 && c + 4 <= shape.width)
        v[i] = *reinterpret_cast<const float4*>(p + c);
      else
        v[i] = {p[columns.x], p[columns.y], p[columns.z], p[columns.w]};
    }
  }
  __device__ static void prepare(float4 (&)[4], Shift) {}
  __device__ static void pair(const float* at, int pair, int plane, float (&a)[4], float (&b)[4]) {
    const float4 v = *reinterpret_cast<const float4*>(at + 2 * pair * plane);
    const float4 w = *reinterpret_cast<const float4*>(at + (2 * pair + 1) * plane);
    a[0] = v.x, a[1] = v.y, a[2] = v.z, a[3] = v.w;
    b[0] = w.x, b[1] = w.y, b[2] = w.z, b[3] = w.w;
  }
  __device__ void voxel(int64_t row, int c, Shift, float2 (&f)[2]) const {
    const float* p = fields + row * 4 * padded + c;
    f[0] = {p[0], p[padded]};
    f[1] = {p[2 * padded], p[3 * padded]};
  }
};

}  // namespace
}  // namespace cuda
}  // namespace dal
