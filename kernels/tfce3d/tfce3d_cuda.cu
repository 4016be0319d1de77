// tfce3d on a GPU, by levels: an approximation of the integral of tfce3d.h.
//
//   G(h) = h^(H+1) / (H+1)      t_k = k M / 255, k = 0..254, M the volume's largest finite value
//   e_k    extent of the voxel's component of {x > 0} for k = 0, of {x >= t_k} for others
//   m      the last level that the voxel reaches
//
//   TFCE(u) = ∑ k < m  (e_k^E + e_(k+1)^E) / 2 (G(t_(k+1)) - G(t_k))  +  (e_m^E + 1) / 2 (G(x) - G(t_m))
//
// Between two levels the extent falls from e_k to e_(k+1), and on top to 1 at least: the mean of both ends
// is wrong by at most half of their difference. Over all levels those differences add up to e_0^E - 1, so
//
//   |error| <= (e_0^E - 1) / 2 max_k (G(t_(k+1)) - G(t_k)),  for H >= 0 not above (e_0^E - 1) / 2 x(u)^H M
//   / 255
//
//   clear_largest, find_largest    M of each volume
//   tabulate_levels                what each level adds to its voxels
//   quantise                       1 + m of each voxel, 0 for background
//   for each level: pack_level     its voxels as bits
//     unite_tiles, unite_borders, count_voxels       components and their sizes, see components3d
//     add_level                    e_k^E times what the level adds
//   write_sums
//
// Maxima and sizes are integers, and a voxel's terms are added in the order of levels: the bits do not
// depend on how the threads interleave.
#include "components3d/sizes.cuh"
#include "tfce3d/tfce3d.h"

namespace dal {
namespace cuda {
namespace {

constexpr int kLevels = 255;  // 1 + level fits a byte
constexpr int kEach = 16;  // voxels a thread of find_largest

// What a level adds to a voxel in units of e_k^E: `below` for the half of the step from the level before,
// `through` with the half of the step to the next level for voxels that reach that. start: G(t_k).
struct Level {
  double start, below, through;
};

// G, and its difference between two heights; both may be infinite.
struct Height {
  double power;  // H + 1

  __device__ double operator()(double h) const { return pow(h, power) / power; }
  __device__ double rise(double from, double to) const { return from == to ? 0 : to - from; }
};

__device__ __forceinline__ double threshold(double largest, int k) { return largest * k / kLevels; }

struct Workspace {
  Level* levels;  // volumes x kLevels
  float* sums;  // volumes x voxels
  uint32_t* forest;  // volumes x voxels
  uint32_t* bits;  // volumes x words
  uint32_t* largest;  // volumes; M as bits of a float
  uint8_t* reached;  // volumes x voxels; 1 + level, 0: background

  Workspace(void* base, const BitGrid& grid, int64_t volumes)
      : levels(static_cast<Level*>(base)),
        sums(reinterpret_cast<float*>(levels + volumes * kLevels)),
        forest(reinterpret_cast<uint32_t*>(sums + volumes * grid.voxels())),
        bits(forest + volumes * grid.voxels()),
        largest(bits + volumes * grid.all_words()),
        reached(reinterpret_cast<uint8_t*>(largest + volumes)) {}
};

// The value of a voxel, 0 in the background.
template <class T>
__device__ __forceinline__ float foreground(const T* x, const uint8_t* mask, int64_t at) {
  const float value = to_float(x[at]);
  return value > 0 && (!mask || mask[at]) ? value : 0;
}

__device__ __forceinline__ int64_t first_index() { return int64_t(blockIdx.x) * kThreads + threadIdx.x; }

__global__ void __launch_bounds__(kThreads) clear_largest(uint32_t* largest, int64_t volumes) {
  const int64_t volume = first_index();
  if (volume < volumes) largest[volume] = 0;
}

// A block takes kThreads * kEach voxels of one volume. Positive floats are ordered as their bits.
template <class T>
__global__ void __launch_bounds__(kThreads)
    find_largest(const T* __restrict__ x, const uint8_t* __restrict__ mask, uint32_t* largest,
                 int64_t voxels, int64_t blocks_a_volume) {
  const int64_t volume = blockIdx.x / blocks_a_volume;
  const int64_t first = blockIdx.x % blocks_a_volume * kThreads * kEach + threadIdx.x;
  uint32_t most = 0;
  for (int i = 0; i < kEach; ++i) {
    const int64_t at = first + i * kThreads;
    const float value = at < voxels ? foreground(x, mask, volume * voxels + at) : 0;
    if (isfinite(value)) most = max(most, __float_as_uint(value));
  }
  most = __reduce_max_sync(kAllLanes, most);
  if (threadIdx.x % kWord == 0 && most) atomicMax(&largest[volume], most);
}

__global__ void __launch_bounds__(kThreads)
    tabulate_levels(const uint32_t* __restrict__ largest, Level* levels, int64_t volumes, Height height) {
  const int64_t at = first_index();
  if (at >= volumes * kLevels) return;
  const double most = __uint_as_float(largest[at / kLevels]);
  const int k = int(at % kLevels);
  const double start = height(threshold(most, k)), next = height(threshold(most, k + 1));
  const double below = k ? height.rise(height(threshold(most, k - 1)), start) / 2 : 0;
  levels[at] = {start, below, below + height.rise(start, next) / 2};
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    quantise(const T* __restrict__ x, const uint8_t* __restrict__ mask,
             const uint32_t* __restrict__ largest, uint8_t* reached, float* sums, int64_t voxels,
             int64_t all) {
  const int64_t at = first_index();
  if (at >= all) return;
  sums[at] = 0;
  const double value = foreground(x, mask, at), most = __uint_as_float(largest[at / voxels]);
  int level = value < most ? int(value / most * kLevels) : kLevels - 1;
  if (level && value < threshold(most, level)) --level;
  if (level + 1 < kLevels && value >= threshold(most, level + 1)) ++level;
  reached[at] = uint8_t(value > 0 ? level + 1 : 0);
}

__global__ void __launch_bounds__(kThreads)
    pack_level(const uint8_t* __restrict__ reached, uint32_t* bits, BitGrid grid, int level) {
  const TilePlace at(grid);
  reached += at.volume * grid.voxels();
  bits += at.volume * grid.all_words();
#pragma unroll 4
  for (int plane = 0; plane < kTileZ; ++plane) {
    const uint32_t z = at.z0 + uint32_t(plane);
    const bool inside = plane < at.planes && at.x < grid.width;
    const uint32_t word = __ballot_sync(kAllLanes, inside && reached[grid.node(z, at.y, at.x)] > level);
    if (plane < at.planes && at.lane == 0) bits[grid.word(z, at.y, at.k)] = word;
  }
}

// forest with sizes, see count_voxels. A lane adds to its own voxels only.
template <class T>
__global__ void __launch_bounds__(kThreads)
    add_level(const T* __restrict__ x, const Workspace from, BitGrid grid, int k, double extent_power,
              Height height) {
  const TilePlace at(grid);
  const TileWords words(from.bits + at.volume * grid.all_words(), grid, at);
  const int64_t volume = at.volume * grid.voxels();
  const uint32_t* const forest = from.forest + volume;
  for (int plane = 0; plane < at.planes; ++plane) {
    const uint32_t word = words[plane], node = grid.node(at.z0 + uint32_t(plane), at.y, at.x);
    double extent = 0;
    if (run_starts(word) >> at.lane & 1)
      extent = pow(double(component_size(forest, find_root(forest, node))), extent_power);
    const bool above = word >> at.lane & 1;
    extent = __shfl_sync(kAllLanes, extent, above ? run_start(word, at.lane) : 0);
    if (!above) continue;
    const Level level = from.levels[at.volume * kLevels + k];
    const int64_t voxel = volume + node;
    double more = extent * level.through;
    if (from.reached[voxel] == k + 1)
      more = extent * level.below +
             (extent + 1) / 2 * height.rise(level.start, height(double(to_float(x[voxel]))));
    from.sums[voxel] += float(more);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    write_sums(const float* __restrict__ sums, T* out, int64_t all) {
  const int64_t at = first_index();
  if (at < all) out[at] = from_float<T>(sums[at]);
}

template <class T>
void enhance(const T* x, const uint8_t* mask, T* out, void* workspace, const Tfce3dProblem& p,
             cudaStream_t stream) {
  const BitGrid grid(p.depth, p.height, p.width);
  const Workspace at(workspace, grid, p.volumes);
  const Height height{p.height_power + 1};
  const int64_t voxels = grid.voxels(), all = p.volumes * voxels;
  const int64_t parts = ceil_div(voxels, int64_t(kThreads) * kEach);
  const unsigned tiles = grid_size(p.volumes * grid.tiles()), each = grid_size(ceil_div(all, kThreads));
  DAL_LAUNCH(clear_largest, grid_size(ceil_div(p.volumes, kThreads)), kThreads, 0, stream, at.largest,
             p.volumes);
  check_launch("clear_largest");
  DAL_LAUNCH((find_largest<T>), grid_size(p.volumes * parts), kThreads, 0, stream, x, mask, at.largest,
             voxels, parts);
  check_launch("find_largest");
  DAL_LAUNCH(tabulate_levels, grid_size(ceil_div(p.volumes * kLevels, kThreads)), kThreads, 0, stream,
             at.largest, at.levels, p.volumes, height);
  check_launch("tabulate_levels");
  DAL_LAUNCH((quantise<T>), each, kThreads, 0, stream, x, mask, at.largest, at.reached, at.sums, voxels,
             all);
  check_launch("quantise");
  for (int k = 0; k < kLevels; ++k) {
    DAL_LAUNCH(pack_level, tiles, kThreads, 0, stream, at.reached, at.bits, grid, k);
    check_launch("pack_level");
    build_forest(at.bits, at.forest, grid, p.volumes, p.connectivity, stream);
    DAL_LAUNCH(count_voxels, tiles, kThreads, 0, stream, at.bits, at.forest, grid);
    check_launch("count_voxels");
    DAL_LAUNCH((add_level<T>), tiles, kThreads, 0, stream, x, at, grid, k, p.extent_power, height);
    check_launch("add_level");
  }
  DAL_LAUNCH((write_sums<T>), each, kThreads, 0, stream, at.sums, out, all);
  check_launch("write_sums");
}

}  // namespace

int64_t tfce3d_workspace(Tfce3dProblem p, DType) {
  const BitGrid grid(p.depth, p.height, p.width);
  const int64_t words = grid.all_words() + 2 * grid.voxels() + 1;
  return p.volumes * (kLevels * int64_t(sizeof(Level)) + words * int64_t(sizeof(uint32_t)) + grid.voxels());
}

void tfce3d(const void* x, const uint8_t* mask, void* out, void* workspace, Tfce3dProblem p, DType dtype,
            void* stream) {
  if (p.volumes * p.depth * p.height * p.width == 0) return;
  with_gpu_dtype(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    enhance(static_cast<const T*>(x), mask, static_cast<T*>(out), workspace, p, as_stream(stream));
  });
}

}  // namespace cuda
}  // namespace dal
