// How blocks and threads share a volume, and how they read it. Include only from ssim_l1_cuda.cu.
//
// A block filters tiles of kTileX x kTileY voxels of a plane, four fields at each voxel: F[u], F[u^2],
// F[v], F[v^2], or the four derivative fields. Lanes 0-15 of a warp hold the two fields of u (pair 0),
// lanes 16-31 those of v (pair 1), both at the same 16 columns and at four neighbouring rows; the next warp
// has the next 16 columns or, where the tile has no more, the next four rows.
//
// What a thread misses, the same four voxels' other pair, is one shuffle away.
#pragma once
#include <type_traits>

#include "gpu.h"
#include "ssim_l1/ssim_l1.h"

namespace dal {
namespace cuda {
namespace {

constexpr int kTileX = 16, kTileY = 32;  // voxels of a tile along x and y
constexpr int kThreads = 256;
constexpr int kBlocks = 2;  // share a multiprocessor: one works while the other waits at a barrier
constexpr int kRows = 4;  // filtered together along y by one thread
constexpr int kMaxRadius = 16;

// The volumes, their tiles_x * tiles_y tiles each, and the blocks' shares. The tiles fall into `groups`;
// tile i belongs to group i % groups. A group's tiles, one after the other, are `length` planes, which its
// blocks share, `share` planes each: so all blocks have the same to do, and those of neighbouring tiles are
// at the same planes at the same time and find each other's voxels in the second-level cache.
struct Shape {
  int depth, height, width, tiles_x, tiles_y, groups, share;
  int64_t length;
};

// w[d] is the weight of the tap at distance d. Passed by value, so that it lies in constant memory.
struct Weights {
  float w[kMaxRadius + 1];
};

// Shifts s (of x) and t (of y) of a volume, near the means of its finite voxels.
struct Shift {
  float x, y;
};

// What a block takes at once: planes z0..z1-1 of the columns from x0 and the rows from y0.
struct Tile {
  int64_t volume;
  int x0, y0, z0, z1;

  // The first part of the planes at..end-1 of the group `group`.
  __device__ Tile(const Shape& s, int group, int64_t at, int64_t end) {
    int64_t tile = at / s.depth * s.groups + group;
    z0 = int(at % s.depth);
    z1 = int(min(int64_t(s.depth), z0 + end - at));
    x0 = int(tile % s.tiles_x) * kTileX;
    tile /= s.tiles_x;
    y0 = int(tile % s.tiles_y) * kTileY;
    volume = tile / s.tiles_y;
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

// A thread's part of the tile's outputs: one pair of fields at column x and rows y..y+3.
struct Place {
  int pair, x, y;

  __device__ explicit Place(unsigned thread) {
    const unsigned warp = thread / 32, lane = thread % 32;
    pair = int(lane / 16);
    x = int(warp % (kTileX / 16) * 16 + lane % 16);
    y = int(warp / (kTileX / 16) * kRows);
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

// Starts a copy of kBytes from global to shared memory that goes on while the thread does something else.
// Both addresses are multiples of kBytes.
template <int kBytes>
__device__ __forceinline__ void copy_async(float* to, const void* from) {
#ifdef __CUDA_ARCH__
  const unsigned address = unsigned(__cvta_generic_to_shared(to));
  if (kBytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(from) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(address), "l"(from), "n"(kBytes)
                 : "memory");
#else
  using Word = std::conditional_t<kBytes == 16, uint4, std::conditional_t<kBytes == 8, uint2, uint32_t> >;
  *reinterpret_cast<Word*>(to) = *static_cast<const Word*>(from);
#endif
}

// Waits for the copies that this thread has started: it sees them then, the others after a barrier.
__device__ __forceinline__ void wait_for_copies() {
#ifdef __CUDA_ARCH__
  asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// Four neighbouring voxels of a row as it is continued beyond the border by reflection: their columns.
struct Columns {
  int4 at;

  __device__ bool mirrored() const { return at.x > at.w; }
};

// Starts to copy four voxels as stored: 16 bytes or 8 from p + row where the four are neighbours from a
// multiple of four (`whole`), in the order in which they lie there, mirrored or not; else one by one.
__device__ __forceinline__ void copy4(const void* p, int64_t row, const Columns& c, bool whole, DType dtype,
                                      float* to) {
  const int first = min(c.at.x, c.at.w);
  if (dtype == DType::f32) {
    const uint32_t* const from = static_cast<const uint32_t*>(p) + row;
    if (whole) return copy_async<16>(to, from + first);
    copy_async<4>(to, from + c.at.x);
    copy_async<4>(to + 1, from + c.at.y);
    copy_async<4>(to + 2, from + c.at.z);
    return copy_async<4>(to + 3, from + c.at.w);
  }
  const uint16_t* const from = static_cast<const uint16_t*>(p) + row;
  if (whole) return copy_async<8>(to, from + first);
  const uint32_t v0 = from[c.at.x], v1 = from[c.at.y], v2 = from[c.at.z], v3 = from[c.at.w];
  *reinterpret_cast<uint2*>(to) = make_uint2(v0 | v1 << 16, v2 | v3 << 16);
}

__device__ __forceinline__ float4 turned(const float4& v) { return make_float4(v.w, v.z, v.y, v.x); }

// What copy4() copied.
__device__ __forceinline__ uint4 copied4(const float* at, DType dtype) {
  if (dtype == DType::f32) return *reinterpret_cast<const uint4*>(at);
  const uint2 v = *reinterpret_cast<const uint2*>(at);
  return make_uint4(v.x, v.y, 0, 0);
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
  static constexpr int kPlanes = 2;  // in shared memory: u and v; they are squared when they are filtered
  static constexpr bool kConverts = true;  // what is copied, everywhere or only beyond the border
  static constexpr int kTogether = 1;  // planes between two barriers
  Inputs in;
  Shape shape;

  // Starts to copy x and y at four columns of row y; `distance`: of staged planes.
  __device__ void copy(int64_t plane, int y, const Columns& c, float* to, int distance) const {
    const int64_t row = (plane * shape.height + y) * shape.width;
    copy4(in.x, row, c, in.aligned, in.dtype, to);
    copy4(in.y, row, c, in.aligned, in.dtype, to + distance);
  }
  // Four copied voxels of x and y become u and v.
  __device__ void convert(float* staged, int distance, const Columns& c, Shift s) const {
    const float4 x = decode4(copied4(staged, in.dtype), in.dtype);
    const float4 y = decode4(copied4(staged + distance, in.dtype), in.dtype);
    const float4 d = {x.x - s.x, x.y - s.x, x.z - s.x, x.w - s.x};
    const float4 e = {y.x - s.y, y.y - s.y, y.z - s.y, y.w - s.y};
    const float4 u = {d.x - e.x, d.y - e.y, d.z - e.z, d.w - e.w};
    const float4 v = {d.x + e.x, d.y + e.y, d.z + e.z, d.w + e.w};
    float4 *const to_u = reinterpret_cast<float4*>(staged), *const to_v = to_u + distance / 4;
    if (in.aligned && c.mirrored()) {
      *to_u = turned(u), *to_v = turned(v);
    } else {
      *to_u = u, *to_v = v;
    }
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
  static constexpr int kPlanes = 4;
  static constexpr bool kConverts = false;
  static constexpr int kTogether = 1;
  const float* fields;  // (volumes, depth, height, 4, padded)
  int padded;
  Shape shape;
  Inputs in;  // not filtered; where they are aligned, so are the rows of fields

  __device__ void copy(int64_t plane, int y, const Columns& c, float* to, int distance) const {
    const int64_t row = (plane * shape.height + y) * 4 * padded;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      copy4(fields, row + i * padded, c, in.aligned, DType::f32, to + i * distance);
  }
  __device__ void convert(float* staged, int distance, const Columns& c, Shift) const {
    if (!in.aligned || !c.mirrored()) return;
    for (int i = 0; i < 4; ++i) {
      float4* const v = reinterpret_cast<float4*>(staged + i * distance);
      *v = turned(*v);
    }
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
