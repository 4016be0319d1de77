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

// A block's part: planes z0..z1-1, columns from x0, rows from y0. Planes are counted through all volumes.
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
  __device__ int64_t plane(const Shape& s, int z) const { return volume * s.depth + z; }
  // the row at the tile's top, counted through all planes, and the voxel at its top left
  __device__ int64_t top(const Shape& s, int z) const { return plane(s, z) * s.height + y0; }
  __device__ int64_t corner(const Shape& s, int z) const { return top(s, z) * s.width + x0; }
};

// threadIdx.x, read anew: the compiler then does not carry everything derived from it from plane to plane
// in registers, where it would displace sums in flight.
__device__ __forceinline__ unsigned thread_index_anew() {
#ifdef __CUDA_ARCH__
  unsigned i;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(i));
  return i;
#else
  return threadIdx.x;
#endif
}

// A thread's part of the tile's 32 x 32 outputs: one pair of fields at column x and rows y..y+3.
struct Place {
  int pair, x, y;

  __device__ explicit Place(unsigned thread) {
    const unsigned warp = thread / 32, lane = thread % 32;
    pair = int(lane / 16);
    x = int(warp % 2 * 16 + lane % 16);
    y = int(warp / 2 * kRows);
  }
  // whether the tile's row `row` reaches the volume at this thread's column
  __device__ bool inside(const Tile& tile, const Shape& s, int row) const {
    return x < s.width - tile.x0 && row < s.height - tile.y0;
  }
};

// Values are loaded as they are stored and decoded when they are used, so that no load waits for another.
// `base` is the same for all threads; a 32-bit offset saves half the address arithmetic.
__device__ __forceinline__ uint32_t load_bits(const void* p, int64_t base, int i, DType dtype) {
  if (dtype == DType::f32) return (static_cast<const uint32_t*>(p) + base)[i];
  return (static_cast<const uint16_t*>(p) + base)[i];
}

__device__ __forceinline__ float decode(uint32_t bits, DType dtype) {
  if (dtype == DType::f32) return __uint_as_float(bits);
  if (dtype == DType::f16) return __half2float(__ushort_as_half(uint16_t(bits)));
  return __uint_as_float(bits << 16);
}

__device__ __forceinline__ float load(const void* p, int64_t i, DType dtype) {
  return decode(load_bits(p, i, 0, dtype), dtype);
}

__device__ __forceinline__ void store(float v, void* p, int64_t base, int i, DType dtype) {
  if (dtype == DType::f32)
    (static_cast<float*>(p) + base)[i] = v;
  else if (dtype == DType::f16)
    (static_cast<__half*>(p) + base)[i] = from_float<__half>(v);
  else
    (static_cast<__nv_bfloat16*>(p) + base)[i] = from_float<__nv_bfloat16>(v);
}

// Four neighbouring voxels as stored: 16 bytes, or 8 bytes in x and y. From p[at + c], aligned to four
// voxels, or else one by one from the given columns.
__device__ __forceinline__ uint4 load4(const void* p, int64_t at, int c, bool whole, const int4& columns,
                                       DType dtype) {
  if (whole && dtype == DType::f32)
    return *reinterpret_cast<const uint4*>(static_cast<const uint32_t*>(p) + at + c);
  if (whole) {
    const uint2 v = *reinterpret_cast<const uint2*>(static_cast<const uint16_t*>(p) + at + c);
    return make_uint4(v.x, v.y, 0, 0);
  }
  const uint32_t v0 = load_bits(p, at, columns.x, dtype), v1 = load_bits(p, at, columns.y, dtype),
                 v2 = load_bits(p, at, columns.z, dtype), v3 = load_bits(p, at, columns.w, dtype);
  return dtype == DType::f32 ? make_uint4(v0, v1, v2, v3) : make_uint4(v0 | v1 << 16, v2 | v3 << 16, 0, 0);
}

__device__ __forceinline__ float4 decode4(const uint4& v, DType dtype) {
  if (dtype == DType::f32)
    return make_float4(__uint_as_float(v.x), __uint_as_float(v.y), __uint_as_float(v.z),
                       __uint_as_float(v.w));
  return make_float4(decode(v.x & 0xffff, dtype), decode(v.x >> 16, dtype), decode(v.y & 0xffff, dtype),
                     decode(v.y >> 16, dtype));
}

// The two volumes. The storage type is a run-time value, the same for all threads: only loads and stores
// depend on it, and three types need not be three kernels.
struct Inputs {
  const void *x, *y;
  const Shift* shifts;
  float c1, c2;
  DType dtype;
  bool aligned;  // four neighbouring voxels from a multiple of four can be read at once

  bool single() const { return dtype == DType::f32 && aligned; }
  // Tells the compiler that they are.
  __device__ void is_single() {
    dtype = DType::f32;
    aligned = true;
  }
};

// What is filtered, as two fields `a` and `b` of each pair. Forward: u and u^2, v and v^2.
struct Moments {
  using Group = uint4;  // of four voxels, as stored
  static constexpr int kPlanes = 2;  // in shared memory: u and v; they are squared when they are filtered
  Inputs in;
  Shape shape;

  // x and y at four neighbouring columns from c; `columns` are the same after reflection
  __device__ void fetch(int64_t plane, int y, int c, const int4& columns, uint4 (&v)[2]) const {
    const int64_t at = plane * shape.height * shape.width + int64_t(y) * shape.width;
    const bool whole = in.aligned && c >= 0 && c + 4 <= shape.width;
    v[0] = load4(in.x, at, c, whole, columns, in.dtype);
    v[1] = load4(in.y, at, c, whole, columns, in.dtype);
  }
  // u and v
  __device__ void stage(const uint4 (&v)[2], Shift s, float4 (&out)[2]) const {
    const float4 x = decode4(v[0], in.dtype), y = decode4(v[1], in.dtype);
    const float4 d = {x.x - s.x, x.y - s.x, x.z - s.x, x.w - s.x};
    const float4 e = {y.x - s.y, y.y - s.y, y.z - s.y, y.w - s.y};
    out[0] = {d.x - e.x, d.y - e.y, d.z - e.z, d.w - e.w};
    out[1] = {d.x + e.x, d.y + e.y, d.z + e.z, d.w + e.w};
  }
  // four values of the pair's two fields; `plane` is the distance of staged planes
  __device__ static void pair(const float* at, int pair, int plane, float (&a)[4], float (&b)[4]) {
    const float4 v = *reinterpret_cast<const float4*>(at + pair * plane);
    a[0] = v.x, a[1] = v.y, a[2] = v.z, a[3] = v.w;
    for (int i = 0; i < 4; ++i) b[i] = a[i] * a[i];
  }
  // all four fields of one voxel
  __device__ void voxel(int64_t plane, int y, int c, Shift s, float2 (&f)[2]) const {
    const int64_t at = (plane * shape.height + y) * shape.width + c;
    const float d = load(in.x, at, in.dtype) - s.x, e = load(in.y, at, in.dtype) - s.y;
    const float u = d - e, v = d + e;
    f[0] = {u, u * u};
    f[1] = {v, v * v};
  }
};

// Backward: the derivatives by F[u] and F[u^2], by F[v] and F[v^2], as `fields` lies in memory.
struct Derivatives {
  using Group = float4;
  static constexpr int kPlanes = 4;
  const float* fields;  // (volumes, depth, height, 4, padded)
  int padded;
  Shape shape;
  Inputs in;  // not filtered

  __device__ void fetch(int64_t plane, int y, int c, const int4& columns, float4 (&v)[4]) const {
    const float* const row = fields + (plane * shape.height + y) * 4 * padded;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* const p = row + i * padded;
      if (c >= 0 && c + 4 <= shape.width)
        v[i] = *reinterpret_cast<const float4*>(p + c);
      else
        v[i] = {p[columns.x], p[columns.y], p[columns.z], p[columns.w]};
    }
  }
  __device__ void stage(const float4 (&v)[4], Shift, float4 (&out)[4]) const {
    for (int i = 0; i < 4; ++i) out[i] = v[i];
  }
  __device__ static void pair(const float* at, int pair, int plane, float (&a)[4], float (&b)[4]) {
    const float4 v = *reinterpret_cast<const float4*>(at + 2 * pair * plane);
    const float4 w = *reinterpret_cast<const float4*>(at + (2 * pair + 1) * plane);
    a[0] = v.x, a[1] = v.y, a[2] = v.z, a[3] = v.w;
    b[0] = w.x, b[1] = w.y, b[2] = w.z, b[3] = w.w;
  }
  __device__ void voxel(int64_t plane, int y, int c, Shift, float2 (&f)[2]) const {
    const float* const p = fields + (plane * shape.height + y) * 4 * padded + c;
    f[0] = {p[0], p[padded]};
    f[1] = {p[2 * padded], p[3 * padded]};
  }
};

}  // namespace
}  // namespace cuda
}  // namespace dal
