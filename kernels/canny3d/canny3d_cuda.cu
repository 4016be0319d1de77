// canny3d on a GPU. Formulas: canny3d.h.
//
//   smooth_volume   values, mask -> s               smooth.cuh; any radius: smooth_wide.cuh, three kernels
//   suppress        s -> weak and strong bits       suppress.cuh
//   unite_tiles, unite_borders, mark_strong_roots, write_edges            bits -> edges: hysteresis.cuh
//
// Images are taken several at a time: the hysteresis waits for memory, and its launches cost.
// Built with -fmad=false: the bits of the CPU, but for the order in which Sobel sums.
#include <algorithm>
#include <limits>
#include <vector>

#include "canny3d/canny3d.h"
#include "canny3d/hysteresis.cuh"
#include "canny3d/smooth.cuh"
#include "canny3d/smooth_wide.cuh"
#include "canny3d/suppress.cuh"

namespace dal {
namespace cuda {
namespace {

constexpr int64_t kPassVoxels = int64_t(1) << 25;  // 134 MB of s

// How many images go together, and where everything lies in the workspace.
struct Plan {
  Volume n;
  BitGrid grid;
  int64_t images, together, radius;
  bool masked;
  // bytes from the start of the workspace
  int64_t second, weak, strong, numbers, size;

  Plan(const CannyInput& in, int64_t r)
      : n{int(in.depth), int(in.height), int(in.width)},
        grid(in.depth, in.height, in.width),
        images(in.batch * (in.levels ? 1 : in.channels)),
        radius(r),
        masked(in.mask) {
    const int64_t voxels = in.depth * in.height * in.width;
    if (voxels > std::numeric_limits<int32_t>::max())
      throw std::invalid_argument("canny3d on a GPU takes fewer than 2^31 voxels a volume");
    if (in.levels && in.channels > kMostLevels)
      throw std::invalid_argument("canny3d on a GPU takes at most 256 levels");
    together = std::max<int64_t>(1, std::min(images, kPassVoxels / std::max<int64_t>(1, voxels)));
    // s, then the forest; the wide smoothing blurs from here to the second field and back
    const int64_t field =
        aligned(together * voxels * (wide() && masked ? sizeof(Weighted) : sizeof(float)));
    second = field;
    weak = second + (wide() ? field : 0);
    strong = weak + aligned(together * grid.all_words() * sizeof(uint32_t));
    numbers = strong + aligned(together * grid.all_words() * sizeof(uint32_t));
    size = numbers + (wide() ? (radius + 1 + in.depth + in.height + in.width) * sizeof(float) : 0);
  }

  bool wide() const { return radius > kSmallRadius; }
  static int64_t aligned(int64_t bytes) { return ceil_div(bytes, 64) * 64; }
};

// 1 / (sum of the taps around a voxel with `before` and `after` voxels on either side of it).
struct BorderScale {
  std::vector<double> up_to;  // g(0) + ... + g(k)

  explicit BorderScale(const CannyParameters& parameters) : up_to(size_t(parameters.radius + 1)) {
    double sum = 0;
    for (size_t k = 0; k < up_to.size(); ++k) up_to[k] = sum += parameters.taps[k];
  }
  float operator()(int64_t before, int64_t after) const {
    const size_t last = up_to.size() - 1;
    return float(1 /
                 (up_to[std::min(size_t(before), last)] + up_to[std::min(size_t(after), last)] - up_to[0]));
  }
};

SmallTaps small_taps(const CannyParameters& parameters) {
  const BorderScale scale(parameters);
  SmallTaps taps{};
  taps.radius = int(parameters.radius);
  for (int a = 0; a <= taps.radius; ++a) {
    taps.tap[a] = float(parameters.taps[a]);
    for (int b = 0; b <= taps.radius; ++b) taps.scale[a][b] = scale(a, b);
  }
  return taps;
}

WideTaps wide_taps(const CannyParameters& parameters, Volume n, float* numbers, cudaStream_t stream) {
  const BorderScale scale(parameters);
  std::vector<float> all(parameters.taps, parameters.taps + parameters.radius + 1);
  for (int64_t axis : {n.depth, n.height, n.width})
    for (int64_t i = 0; i < axis; ++i) all.push_back(scale(i, axis - 1 - i));
  for (size_t at = 0; at < all.size(); at += Numbers::kMost) {
    const int count = int(std::min<size_t>(Numbers::kMost, all.size() - at));
    Numbers chunk;
    std::copy_n(all.data() + at, count, chunk.value);
    DAL_LAUNCH(write_numbers, 1, Numbers::kMost, 0, stream, chunk, numbers + at, count);
    check_launch("write_numbers");
  }
  const float* const scale_z = numbers + parameters.radius + 1;
  return {int(parameters.radius), numbers, scale_z, scale_z + n.depth, scale_z + n.depth + n.height};
}

template <class T, class F>
void smooth(const Images<T>& images, const Plan& plan, const SmallTaps& taps, int64_t count,
            float* smoothed, cudaStream_t stream) {
  const bool usual = taps.radius == kUsualRadius;
  const int resident = usual ? kResident<F, kUsualRadius> : kResident<F, kSmallRadius>;
  const March march(plan.n, kSmoothRows, count, kMultiprocessors * resident, 2 * int(taps.radius));
  const unsigned blocks = grid_size(march.blocks(count));
  if (usual)
    DAL_LAUNCH((smooth_volume<T, F, kUsualRadius>), blocks, kSmoothThreads, 0, stream, images, plan.n,
               march, taps, smoothed);
  else
    DAL_LAUNCH((smooth_volume<T, F, kSmallRadius>), blocks, kSmoothThreads, 0, stream, images, plan.n,
               march, taps, smoothed);
  check_launch("smooth_volume");
}

template <class T, class F>
void smooth(const Images<T>& images, const Plan& plan, const WideTaps& taps, int64_t count, float* smoothed,
            cudaStream_t stream) {
  F* const first = reinterpret_cast<F*>(smoothed);
  F* const second = reinterpret_cast<F*>(reinterpret_cast<uint8_t*>(smoothed) + plan.second);
  const unsigned each = unsigned(ceil_div(plan.n.voxels(), kWideThreads)), blocks = grid_size(count * each);
  DAL_LAUNCH((blur_y_wide<T, F>), blocks, kWideThreads, 0, stream, images, plan.n, each, taps, first);
  check_launch("blur_y_wide");
  DAL_LAUNCH((blur_x_wide<F>), blocks, kWideThreads, 0, stream, first, plan.n, each, taps, second);
  check_launch("blur_x_wide");
  DAL_LAUNCH((smooth_z_wide<F>), blocks, kWideThreads, 0, stream, second, plan.n, each, taps, smoothed);
  check_launch("smooth_z_wide");
}

template <class T, class Taps>
void find_edges(const CannyInput& in, const CannyParameters& parameters, const Plan& plan, const Taps& taps,
                uint8_t* workspace, uint8_t* edges, cudaStream_t stream) {
  Images<T> images{static_cast<const T*>(in.values), in.mask, in.levels ? 1 : in.channels, 0,
                   in.levels ? int(in.channels) : 0, {}};
  if (in.levels) std::copy_n(in.levels, in.channels, images.levels);
  const Thresholds threshold{std::max(float(32 * parameters.low), std::numeric_limits<float>::min()),
                             float(32 * parameters.high)};
  float* const smoothed = reinterpret_cast<float*>(workspace);
  uint32_t* const weak = reinterpret_cast<uint32_t*>(workspace + plan.weak);
  uint32_t* const strong = reinterpret_cast<uint32_t*>(workspace + plan.strong);
  for (; images.first < plan.images; images.first += plan.together) {
    const int64_t count = std::min(plan.together, plan.images - images.first);
    if (in.mask)
      smooth<T, Weighted>(images, plan, taps, count, smoothed, stream);
    else
      smooth<T, float>(images, plan, taps, count, smoothed, stream);
    const March march(plan.n, kSuppressRows, count, kMultiprocessors * kSuppressResident, 4);
    DAL_LAUNCH(suppress, grid_size(march.blocks(count)), kSuppressThreads, 0, stream, smoothed, in.mask,
               images.first, images.per_batch, plan.n, march, threshold, weak, strong);
    check_launch("suppress");
    follow_edges(weak, strong, reinterpret_cast<uint32_t*>(workspace),
                 edges + images.first * plan.n.voxels(), plan.grid, count, stream);
  }
}

}  // namespace

int64_t canny3d_workspace(const CannyInput& input, int64_t radius) { return Plan(input, radius).size; }

void canny3d(const CannyInput& input, const CannyParameters& parameters, void* workspace, uint8_t* edges,
             void* stream_pointer) {
  const Plan plan(input, parameters.radius);
  if (plan.images * plan.n.voxels() == 0) return;
  const cudaStream_t stream = as_stream(stream_pointer);
  uint8_t* const base = static_cast<uint8_t*>(workspace);
  with_gpu_dtype(input.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if (plan.wide()) {
      float* const numbers = reinterpret_cast<float*>(base + plan.numbers);
      find_edges<T>(input, parameters, plan, wide_taps(parameters, plan.n, numbers, stream), base, edges,
                    stream);
    } else {
      find_edges<T>(input, parameters, plan, small_taps(parameters), base, edges, stream);
    }
  });
}

}  // namespace cuda
}  // namespace dal
