// The same smoothing for Gaussians of any radius: one pass through global memory an axis, a voxel a
// thread. Taps and scales lie in the workspace.
#pragma once
#include "canny3d/images.cuh"

namespace dal {
namespace cuda {
namespace {

constexpr int kWideThreads = 256;

// taps: g(0) ... g(radius). scale: 1 / (sum of the taps inside the volume), by position along each axis.
struct WideTaps {
  int radius;
  const float *taps, *scale_z, *scale_y, *scale_x;
};

// Host numbers reach the workspace as launch parameters, which a CUDA graph keeps.
struct Numbers {
  static constexpr int kMost = 512;
  float value[kMost];
};
__global__ void write_numbers(Numbers numbers, float* out, int n) {
  if (int(threadIdx.x) < n) out[threadIdx.x] = numbers.value[threadIdx.x];
}

// Blur at position i of an axis of n; at(k): the field k voxels farther along it.
template <class At>
__device__ __forceinline__ auto blur_axis(const WideTaps& taps, int i, int n, At at) {
  auto sum = taps.taps[0] * at(0);
  const decltype(sum) zero{};
  const int reach = min(taps.radius, max(i, n - 1 - i));
  for (int k = 1; k <= reach; ++k)
    sum = sum + taps.taps[k] * ((i >= k ? at(-k) : zero) + (i + k < n ? at(k) : zero));
  return sum;
}

// The thread's voxel; blocks_an_image blocks take the voxels of an image.
struct VoxelPlace {
  int64_t image, at;  // at: within the image
  int z, y, x;
  bool inside;

  __device__ VoxelPlace(Volume n, unsigned blocks_an_image) {
    image = blockIdx.x / blocks_an_image;
    const unsigned i = blockIdx.x % blocks_an_image * kWideThreads + threadIdx.x;
    at = i;
    inside = at < n.voxels();
    x = int(i % unsigned(n.width));
    y = int(i / unsigned(n.width) % unsigned(n.height));
    z = int(i / unsigned(n.width) / unsigned(n.height));
  }
};

template <class T, class F>
__global__ void __launch_bounds__(kWideThreads, 4)
    blur_y_wide(const Images<T> images, Volume n, unsigned blocks_an_image, WideTaps taps, F* out) {
  const VoxelPlace v(n, blocks_an_image);
  if (!v.inside) return;
  const Image<T> image(images, v.image, n.voxels());
  out[v.image * n.voxels() + v.at] = blur_axis(taps, v.y, n.height, [&](int k) {
    const int at[1] = {int(v.at) + k * n.width};
    Fetched<F, 1> field;
    field.take(image, 0, at);
    return field[0];
  });
}

template <class F>
__global__ void __launch_bounds__(kWideThreads)
    blur_x_wide(const F* __restrict__ in, Volume n, unsigned blocks_an_image, WideTaps taps, F* out) {
  const VoxelPlace v(n, blocks_an_image);
  if (!v.inside) return;
  const int64_t at = v.image * n.voxels() + v.at;
  out[at] = blur_axis(taps, v.x, n.width, [=](int k) { return in[at + k]; });
}

template <class F>
__global__ void __launch_bounds__(kWideThreads)
    smooth_z_wide(const F* __restrict__ in, Volume n, unsigned blocks_an_image, WideTaps taps,
                  float* smoothed) {
  const VoxelPlace v(n, blocks_an_image);
  if (!v.inside) return;
  const int64_t at = v.image * n.voxels() + v.at, plane = int64_t(n.height) * n.width;
  const F sum = blur_axis(taps, v.z, n.depth, [=](int k) { return in[at + k * plane]; });
  smoothed[at] = normalise(sum, taps.scale_z[v.z] * taps.scale_y[v.y] * taps.scale_x[v.x]);
}

}  // namespace
}  // namespace cuda
}  // namespace dal
