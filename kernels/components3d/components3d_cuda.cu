// components3d and remove_small on a GPU. Formulas: components3d.h; the forest: union_find.cuh.
//
//   pack_mask      mask -> bits, 32 voxels a word
//   unite_tiles, unite_borders          bits -> forest
//   mark_roots     forest flattened; roots as bits, with the number of roots before each word of its block
//   scan_counts    roots before each block of words
//   write_labels   1 + number of roots before the voxel's own
//
//   count_voxels   sizes, added to the roots of the forest
//   write_large    mask again, without the small ones
//
// components3d keeps its forest in the labels. A root is the first voxel of its component, so the number
// of roots before it, in raster order, is the label that scipy gives.
#include "components3d/components3d.h"
#include "components3d/sizes.cuh"

namespace dal {
namespace cuda {
namespace {

constexpr int kRankWords = 32;  // words a block of mark_roots, one a warp
constexpr int kScanThreads = 1024;

// Roots among 32 voxels, and how many lie in the words before, from the block's first.
struct RankWord {
  uint32_t roots, before;
};

struct Workspace {
  RankWord* ranks;  // volumes x words
  uint32_t* bits;  // volumes x words
  uint32_t* counts;  // volumes x blocks of kRankWords words
  uint32_t* forest;  // volumes x voxels; remove_small only

  Workspace(void* base, const BitGrid& grid, int64_t volumes)
      : ranks(static_cast<RankWord*>(base)),
        bits(reinterpret_cast<uint32_t*>(ranks + volumes * grid.all_words())),
        counts(bits + volumes * grid.all_words()),
        forest(bits + volumes * grid.all_words()) {}
};

__global__ void __launch_bounds__(kThreads)
    pack_mask(const uint8_t* __restrict__ mask, uint32_t* bits, BitGrid grid) {
  const TilePlace at(grid);
  mask += at.volume * grid.voxels();
  bits += at.volume * grid.all_words();
#pragma unroll
  for (int plane = 0; plane < kTileZ; ++plane) {
    const uint32_t z = at.z0 + uint32_t(plane);
    const bool inside = plane < at.planes && at.x < grid.width;
    const uint32_t word = __ballot_sync(kAllLanes, inside && mask[grid.node(z, at.y, at.x)] != 0);
    if (plane < at.planes && at.lane == 0) bits[grid.word(z, at.y, at.k)] = word;
  }
}

// A warp a word, in raster order.
__global__ void __launch_bounds__(kRankWords* kWord)
    mark_roots(const uint32_t* __restrict__ bits, uint32_t* forest, RankWord* ranks, uint32_t* counts,
               BitGrid grid, uint32_t blocks_a_volume) {
  __shared__ uint32_t marked[kRankWords];
  const int64_t volume = blockIdx.x / blocks_a_volume;
  const int64_t first = int64_t(blockIdx.x % blocks_a_volume) * kRankWords;
  const int lane = int(threadIdx.x % kWord), warp = int(threadIdx.x / kWord);
  bits += volume * grid.all_words();
  forest += volume * grid.voxels();
  const uint32_t index = uint32_t(first + warp), word = first + warp < grid.all_words() ? bits[index] : 0;
  bool is_root = false;
  if (run_starts(word) >> lane & 1) {
    const uint32_t node = grid.node(0, index / grid.words, index % grid.words * kWord + uint32_t(lane));
    const uint32_t root = find_root(forest, node);
    is_root = root == node;
    if (!is_root) static_cast<volatile uint32_t*>(forest)[node] = root + 1;
  }
  const uint32_t roots = __ballot_sync(kAllLanes, is_root);
  if (lane == 0) marked[warp] = roots;
  __syncthreads();
  if (warp == 0) {  // a lane a word
    const uint32_t mine = marked[lane], up_to = warp_scan(uint32_t(__popc(mine)), lane);
    if (first + lane < grid.all_words())
      ranks[volume * grid.all_words() + first + lane] = {mine, up_to - uint32_t(__popc(mine))};
    if (lane == kWord - 1) counts[blockIdx.x] = up_to;
  }
}

// counts: volumes x n, each volume's replaced by the sums of those before; a block a volume.
__global__ void __launch_bounds__(kScanThreads) scan_counts(uint32_t* counts, uint32_t n) {
  __shared__ uint32_t sums[kScanThreads / kWord];
  const int lane = int(threadIdx.x % kWord), warp = int(threadIdx.x / kWord);
  counts += int64_t(blockIdx.x) * n;
  uint32_t before = 0;  // of all earlier strides
  for (uint32_t start = 0; start < n; start += kScanThreads) {
    const uint32_t i = start + threadIdx.x;
    const uint32_t mine = i < n ? counts[i] : 0, up_to = warp_scan(mine, lane);
    if (lane == kWord - 1) sums[warp] = up_to;
    __syncthreads();
    const uint32_t warps_up_to = warp_scan(sums[lane], lane);
    const uint32_t before_warp = __shfl_sync(kAllLanes, warps_up_to, warp ? warp - 1 : 0);
    if (i < n) counts[i] = before + (warp ? before_warp : 0) + up_to - mine;
    before += __shfl_sync(kAllLanes, warps_up_to, kWord - 1);
    __syncthreads();
  }
}

// labels holds the flat forest; a lane reads and writes its own voxels only.
__global__ void __launch_bounds__(kThreads)
    write_labels(const uint32_t* __restrict__ bits, const RankWord* __restrict__ ranks,
                 const uint32_t* __restrict__ counts, int32_t* labels, BitGrid grid,
                 uint32_t counts_a_volume) {
  const TilePlace at(grid);
  const TileWords words(bits + at.volume * grid.all_words(), grid, at);
  labels += at.volume * grid.voxels();
  ranks += at.volume * grid.all_words();
  counts += at.volume * counts_a_volume;
  for (int plane = 0; plane < at.planes; ++plane) {
    const uint32_t word = words[plane], node = grid.node(at.z0 + uint32_t(plane), at.y, at.x);
    uint32_t label = 0;
    if (run_starts(word) >> at.lane & 1) {
      const uint32_t root = uint32_t(labels[node]) - 1, root_word = grid.word_of(root);
      const RankWord rank = ranks[root_word];
      const uint32_t below = rank.roots & ((1u << (root % grid.width % kWord)) - 1);
      label = counts[root_word / kRankWords] + rank.before + uint32_t(__popc(below)) + 1;
    }
    const bool in_mask = word >> at.lane & 1;
    label = __shfl_sync(kAllLanes, label, in_mask ? run_start(word, at.lane) : 0);
    if (at.x < grid.width) labels[node] = in_mask ? int32_t(label) : 0;
  }
}

__global__ void __launch_bounds__(kThreads)
    write_large(const uint32_t* __restrict__ bits, const uint32_t* __restrict__ forest, uint8_t* out,
                BitGrid grid, int64_t min_voxels) {
  const TilePlace at(grid);
  const TileWords words(bits + at.volume * grid.all_words(), grid, at);
  forest += at.volume * grid.voxels();
  out += at.volume * grid.voxels();
  for (int plane = 0; plane < at.planes; ++plane) {
    const uint32_t word = words[plane], node = grid.node(at.z0 + uint32_t(plane), at.y, at.x);
    bool large = false;
    if (run_starts(word) >> at.lane & 1) {
      const uint32_t root = find_root(forest, node);
      large = int64_t(component_size(forest, root)) >= min_voxels;
    }
    const uint32_t kept = __ballot_sync(kAllLanes, large);
    const bool in_mask = word >> at.lane & 1;
    if (at.x < grid.width) out[node] = in_mask && kept >> run_start(word, at.lane) & 1;
  }
}

void build_forest(const uint8_t* mask, uint32_t* bits, uint32_t* forest, const BitGrid& grid,
                  Components3dShape shape, cudaStream_t stream) {
  DAL_LAUNCH(pack_mask, grid_size(shape.volumes * grid.tiles()), kThreads, 0, stream, mask, bits, grid);
  check_launch("pack_mask");
  build_forest(bits, forest, grid, shape.volumes, shape.connectivity, stream);
}

BitGrid grid_of(Components3dShape shape) { return BitGrid(shape.depth, shape.height, shape.width); }

}  // namespace

int64_t components3d_workspace(Components3dShape shape) {
  const BitGrid grid = grid_of(shape);
  const int64_t words = grid.all_words(), counts = ceil_div(words, kRankWords);
  const int64_t behind_bits = counts > grid.voxels() ? counts : grid.voxels();
  return shape.volumes *
         (words * int64_t(sizeof(RankWord) + sizeof(uint32_t)) + behind_bits * int64_t(sizeof(uint32_t)));
}

void components3d(const uint8_t* mask, int32_t* labels, void* workspace, Components3dShape shape,
                  void* stream_pointer) {
  const BitGrid grid = grid_of(shape);
  if (shape.volumes * grid.voxels() == 0) return;
  const Workspace at(workspace, grid, shape.volumes);
  const cudaStream_t stream = as_stream(stream_pointer);
  const uint32_t rank_blocks = uint32_t(ceil_div(grid.all_words(), kRankWords));
  uint32_t* const forest = reinterpret_cast<uint32_t*>(labels);
  build_forest(mask, at.bits, forest, grid, shape, stream);
  DAL_LAUNCH(mark_roots, grid_size(shape.volumes * rank_blocks), kRankWords * kWord, 0, stream, at.bits,
             forest, at.ranks, at.counts, grid, rank_blocks);
  check_launch("mark_roots");
  DAL_LAUNCH(scan_counts, grid_size(shape.volumes), kScanThreads, 0, stream, at.counts, rank_blocks);
  check_launch("scan_counts");
  DAL_LAUNCH(write_labels, grid_size(shape.volumes * grid.tiles()), kThreads, 0, stream, at.bits, at.ranks,
             at.counts, labels, grid, rank_blocks);
  check_launch("write_labels");
}

void remove_small(const uint8_t* mask, uint8_t* out, void* workspace, Components3dShape shape,
                  int64_t min_voxels, void* stream_pointer) {
  const BitGrid grid = grid_of(shape);
  if (shape.volumes * grid.voxels() == 0) return;
  const Workspace at(workspace, grid, shape.volumes);
  const cudaStream_t stream = as_stream(stream_pointer);
  const unsigned tiles = grid_size(shape.volumes * grid.tiles());
  build_forest(mask, at.bits, at.forest, grid, shape, stream);
  DAL_LAUNCH(count_voxels, tiles, kThreads, 0, stream, at.bits, at.forest, grid);
  check_launch("count_voxels");
  DAL_LAUNCH(write_large, tiles, kThreads, 0, stream, at.bits, at.forest, out, grid, min_voxels);
  check_launch("write_large");
}

}  // namespace cuda
}  // namespace dal
