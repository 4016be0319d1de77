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
#include "components3d/union_find.cuh"

namespace dal {
namespace cuda {
namespace {

constexpr int kRankWords = 32;  // words a block of mark_roots, one a warp
constexpr int kScanThreads = 1024;
constexpr int kCountWords = 8;  // words a warp of count_voxels

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
    pack_mask(const uint8_t* __restrict__ mask, uint32_t* bits, BitGrid grid, uint32_t blocks_a_volume) {
  const WordPlace at(grid, blocks_a_volume, kWarps);
  const bool inside = at.inside && at.x < grid.width;
  const uint8_t voxel = inside ? mask[at.volume * grid.voxels() + grid.node(0, at.row, at.x)] : uint8_t(0);
  const uint32_t word = __ballot_sync(kAllLanes, voxel != 0);
  if (at.inside && at.lane == 0) bits[at.volume * grid.all_words() + at.word] = word;
}

// Inclusive sum over the lanes up to this one.
__device__ __forceinline__ uint32_t warp_scan(uint32_t value, int lane) {
#pragma unroll
  for (int step = 1; step < kWord; step *= 2) {
    const uint32_t below = __shfl_up_sync(kAllLanes, value, step);
    if (lane >= step) value += below;
  }
  return value;
}

__global__ void __launch_bounds__(kRankWords* kWord)
    mark_roots(const uint32_t* __restrict__ bits, uint32_t* forest, RankWord* ranks, uint32_t* counts,
               BitGrid grid, uint32_t blocks_a_volume) {
  __shared__ uint32_t marked[kRankWords];
  const WordPlace at(grid, blocks_a_volume, kRankWords);
  const int64_t words = at.volume * grid.all_words();
  const uint32_t word = at.inside ? bits[words + at.word] : 0;
  forest += at.volume * grid.voxels();
  bool is_root = false;
  if (run_starts(word) >> at.lane & 1) {
    const uint32_t node = grid.node(0, at.row, at.x), root = find_root(forest, node);
    is_root = root == node;
    if (!is_root) static_cast<volatile uint32_t*>(forest)[node] = root + 1;
  }
  const uint32_t roots = __ballot_sync(kAllLanes, is_root);
  if (at.lane == 0) marked[threadIdx.x / kWord] = roots;
  __syncthreads();
  if (threadIdx.x < kRankWords) {  // the first warp: a lane a word
    const uint32_t mine = marked[at.lane], up_to = warp_scan(uint32_t(__popc(mine)), at.lane);
    const int64_t first = int64_t(blockIdx.x % blocks_a_volume) * kRankWords;
    if (first + at.lane < grid.all_words())
      ranks[words + first + at.lane] = {mine, up_to - uint32_t(__popc(mine))};
    if (at.lane == kWord - 1) counts[blockIdx.x] = up_to;
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

// labels holds the flat forest; a lane reads and writes its own voxel only.
__global__ void __launch_bounds__(kThreads)
    write_labels(const uint32_t* __restrict__ bits, const RankWord* __restrict__ ranks,
                 const uint32_t* __restrict__ counts, int32_t* labels, BitGrid grid,
                 uint32_t blocks_a_volume, uint32_t counts_a_volume) {
  const WordPlace at(grid, blocks_a_volume, kWarps);
  const int64_t words = at.volume * grid.all_words();
  const uint32_t word = at.inside ? bits[words + at.word] : 0;
  int32_t* const voxel = labels + at.volume * grid.voxels() + grid.node(0, at.row, at.x);
  int32_t label = 0;
  if (run_starts(word) >> at.lane & 1) {
    const uint32_t root = uint32_t(*voxel) - 1, root_word = grid.word_of(root);
    const RankWord rank = ranks[words + root_word];
    const uint32_t below = rank.roots & ((1u << (root % grid.width % kWord)) - 1);
    label = int32_t(counts[at.volume * int64_t(counts_a_volume) + root_word / kRankWords] + rank.before +
                    uint32_t(__popc(below)) + 1);
  }
  const bool in_mask = word >> at.lane & 1;
  label = __shfl_sync(kAllLanes, label, in_mask ? run_start(word, at.lane) : 0);
  if (at.inside && at.x < grid.width) *voxel = in_mask ? label : 0;
}

// Afterwards forest[root] = root + voxels of its component, which still exceeds root.
__global__ void __launch_bounds__(kThreads)
    count_voxels(const uint32_t* __restrict__ bits, uint32_t* forest, BitGrid grid,
                 uint32_t blocks_a_volume) {
  const uint32_t volume = blockIdx.x / blocks_a_volume;
  const int lane = int(threadIdx.x % kWord);
  const int64_t warp = int64_t(blockIdx.x % blocks_a_volume) * kWarps + threadIdx.x / kWord;
  bits += volume * grid.all_words();
  forest += volume * grid.voxels();
  uint32_t root = 0, voxels = 0;  // not yet added; a warp's words mostly share their root
  for (int64_t i = warp * kCountWords; i < min((warp + 1) * kCountWords, grid.all_words()); ++i) {
    const uint32_t word = bits[i], row = uint32_t(i) / grid.words;
    if (!(run_starts(word) >> lane & 1)) continue;
    const uint32_t node = grid.node(0, row, uint32_t(i) % grid.words * kWord + uint32_t(lane));
    const uint32_t own = find_root(forest, node);
    if (own != node) static_cast<volatile uint32_t*>(forest)[node] = own + 1;
    if (own != root) {
      if (voxels) atomicAdd(&forest[root], voxels);
      root = own;
      voxels = 0;
    }
    voxels += run_length(word, lane) - (own == node);  // forest[root] = root + 1 counts the root
  }
  if (voxels) atomicAdd(&forest[root], voxels);
}

__global__ void __launch_bounds__(kThreads)
    write_large(const uint32_t* __restrict__ bits, const uint32_t* __restrict__ forest, uint8_t* out,
                BitGrid grid, uint32_t blocks_a_volume, int64_t min_voxels) {
  const WordPlace at(grid, blocks_a_volume, kWarps);
  const uint32_t word = at.inside ? bits[at.volume * grid.all_words() + at.word] : 0;
  const uint32_t node = grid.node(0, at.row, at.x);
  forest += at.volume * grid.voxels();
  bool large = false;
  if (run_starts(word) >> at.lane & 1) {
    const uint32_t root = find_root(forest, node);
    large = int64_t(forest[root] - root) >= min_voxels;
  }
  const uint32_t kept = __ballot_sync(kAllLanes, large);
  const bool in_mask = word >> at.lane & 1;
  if (at.inside && at.x < grid.width)
    out[at.volume * grid.voxels() + node] = in_mask && kept >> run_start(word, at.lane) & 1;
}

void build_forest(const uint8_t* mask, uint32_t* bits, uint32_t* forest, const BitGrid& grid,
                  Components3dShape shape, cudaStream_t stream) {
  const uint32_t blocks = word_blocks(grid);
  DAL_LAUNCH(pack_mask, grid_size(shape.volumes * blocks), kThreads, 0, stream, mask, bits, grid, blocks);
  check_launch("pack_mask");
  if (shape.connectivity == 6)
    build_forest<1>(bits, forest, grid, shape.volumes, stream);
  else if (shape.connectivity == 18)
    build_forest<2>(bits, forest, grid, shape.volumes, stream);
  else
    build_forest<3>(bits, forest, grid, shape.volumes, stream);
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
  const uint32_t blocks = word_blocks(grid), rank_blocks = uint32_t(ceil_div(grid.all_words(), kRankWords));
  uint32_t* const forest = reinterpret_cast<uint32_t*>(labels);
  build_forest(mask, at.bits, forest, grid, shape, stream);
  DAL_LAUNCH(mark_roots, grid_size(shape.volumes * rank_blocks), kRankWords * kWord, 0, stream, at.bits,
             forest, at.ranks, at.counts, grid, rank_blocks);
  check_launch("mark_roots");
  DAL_LAUNCH(scan_counts, grid_size(shape.volumes), kScanThreads, 0, stream, at.counts, rank_blocks);
  check_launch("scan_counts");
  DAL_LAUNCH(write_labels, grid_size(shape.volumes * blocks), kThreads, 0, stream, at.bits, at.ranks,
             at.counts, labels, grid, blocks, rank_blocks);
  check_launch("write_labels");
}

void remove_small(const uint8_t* mask, uint8_t* out, void* workspace, Components3dShape shape,
                  int64_t min_voxels, void* stream_pointer) {
  const BitGrid grid = grid_of(shape);
  if (shape.volumes * grid.voxels() == 0) return;
  const Workspace at(workspace, grid, shape.volumes);
  const cudaStream_t stream = as_stream(stream_pointer);
  build_forest(mask, at.bits, at.forest, grid, shape, stream);
  const uint32_t count_blocks = uint32_t(ceil_div(grid.all_words(), kWarps * kCountWords));
  DAL_LAUNCH(count_voxels, grid_size(shape.volumes * count_blocks), kThreads, 0, stream, at.bits, at.forest,
             grid, count_blocks);
  check_launch("count_voxels");
  const uint32_t blocks = word_blocks(grid);
  DAL_LAUNCH(write_large, grid_size(shape.volumes * blocks), kThreads, 0, stream, at.bits, at.forest, out,
             grid, blocks, min_voxels);
  check_launch("write_large");
}

}  // namespace cuda
}  // namespace dal
