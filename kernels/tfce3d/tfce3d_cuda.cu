// tfce3d on a GPU: the integral of tfce3d.h, exactly, from the branches of branches.cuh.
//
// The caller sorts twice: voxels by falling value, then ranks by branch. In between
//
//   number_voxels       rank of every voxel
//   climb, climb_to_the_top     the maximum that every voxel leads up to
//   connect_branches, settle_joins     where every branch ends, and which one goes on
//   choose_branches     the branch of every voxel
//
// and afterwards, where the voxels of a branch lie side by side in the order in which it takes them up,
//
//   bound_branches      where each begins and ends in that list
//   add_sizes           voxels of every branch with all that end in it
//   add_joined          those counted for the voxel where they are taken up
//   sum_areas           area of a voxel: sum over its branch up to it
//   sum_terms           sum over its branch from it on of  area^E (G(x) - G(next x)),  G(h) = h^(H+1) /
//   (H+1) sum_below           what a branch's voxels get from below its end write_sums
//
// Ranks, branches and areas are unique, sums are added in one order: the bits do not depend on how the
// threads interleave.
#include <type_traits>

#include "tfce3d/segments.cuh"
#include "tfce3d/tfce3d.h"

namespace dal {
namespace cuda {
namespace {

// By voxel, rank or branch (the rank of its maximum), of all volumes.
struct Workspace {
  u64* joins;  // by branch
  double* sums;  // by place in the list
  double* below;  // by branch
  Running<double>* term_chunks;
  Running<uint32_t>* area_chunks;
  uint32_t *ranks, *places;  // by voxel; then in the same memory the place in the list by rank
  uint32_t* up;  // by rank
  uint32_t *sizes, *first, *end;  // by branch
  uint32_t *counts, *areas;  // by rank; by place
  int64_t bytes;

  Workspace(void* base, const Grid& grid, int64_t volumes) {
    const int64_t all = volumes * grid.voxels, chunks = volumes * grid.blocks;
    auto at = reinterpret_cast<uintptr_t>(base);
    const auto take = [&](auto*& pointer, int64_t count) {
      pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(at);
      at += uintptr_t(count) * sizeof(*pointer);
    };
    take(joins, all);
    take(sums, all);
    take(below, all);
    take(term_chunks, chunks);
    take(area_chunks, chunks);
    for (uint32_t** each : {&ranks, &up, &sizes, &first, &end, &counts, &areas}) take(*each, all);
    places = ranks;
    bytes = int64_t(at - reinterpret_cast<uintptr_t>(base));
  }
};

// The list: ranks sorted by branch, the branch of each, and the voxel of every rank.
struct List {
  const int32_t* branches;
  const int64_t *ranks, *order;
};

__device__ __forceinline__ double raised(double x, double power) {
  if (power == 0.5) return sqrt(x);
  if (power == 1) return x;
  if (power == 2) return x * x;
  if (power == 3) return x * x * x;
  return pow(x, power);
}

// A volume's part of everything, for the thread at one place.
template <class T>
struct Volume {
  const T* x;
  List list;
  Workspace own;
  Grid grid;
  double extent_power, height_power;  // height_power: H + 1

  // G of the voxel of a rank.
  __device__ double height(int64_t first, uint32_t rank) const {
    return raised(double(to_float(x[first + list.order[first + rank]])), height_power) / height_power;
  }
  // Area of the voxel at a place in the list.
  __device__ uint32_t area(const Place& p, uint32_t at, uint32_t branch) const {
    const uint32_t chunk = at / kThreads;
    const bool taken_over = own.first[p.first + branch] < chunk * kThreads;
    return own.areas[p.first + at] + (taken_over ? own.area_chunks[p.volume * grid.blocks + chunk].sum : 0);
  }
  // What the voxel at a place gets from its own branch. Sums run from the end of the list.
  __device__ double sum(const Place& p, uint32_t at, uint32_t branch) const {
    const uint32_t chunk = (grid.voxels - 1 - at) / kThreads;
    const bool taken_over = grid.voxels - own.end[p.first + branch] < chunk * kThreads;
    return own.sums[p.first + at] + (taken_over ? own.term_chunks[p.volume * grid.blocks + chunk].sum : 0);
  }
};

__global__ void __launch_bounds__(kThreads) bound_branches(List list, Workspace own, Grid grid) {
  const Place p(grid);
  if (!p.inside) return;
  const int32_t *const branches = list.branches + p.first, branch = branches[p.at];
  own.sizes[p.first + p.at] = 0;
  own.counts[p.first + p.at] = 1;
  if (uint32_t(branch) == grid.voxels) return;
  own.places[p.first + list.ranks[p.first + p.at]] = p.at;
  if (p.at == 0 || branches[p.at - 1] != branch) own.first[p.first + branch] = p.at;
  if (p.at + 1 == grid.voxels || branches[p.at + 1] != branch) own.end[p.first + branch] = p.at + 1;
}

__global__ void __launch_bounds__(kThreads) add_sizes(Workspace own, Grid grid) {
  const Place p(grid);
  if (!p.inside || own.up[p.first + p.at] != p.at) return;
  const uint32_t size = own.end[p.first + p.at] - own.first[p.first + p.at];
  const u64* const joins = own.joins + p.first;
  atomicAdd(&own.sizes[p.first + p.at], size);
  for (u64 join = joins[p.at]; join != kNever; join = joins[branch_of(join)])
    atomicAdd(&own.sizes[p.first + branch_of(join)], size);
}

__global__ void __launch_bounds__(kThreads) add_joined(Workspace own, Grid grid) {
  const Place p(grid);
  if (!p.inside || own.up[p.first + p.at] != p.at) return;
  const u64 join = own.joins[p.first + p.at];
  if (join != kNever) atomicAdd(&own.counts[p.first + rank_of(join)], own.sizes[p.first + p.at]);
}

__global__ void __launch_bounds__(kThreads) sum_areas(List list, Workspace own, Grid grid) {
  const Place p(grid);
  Running<uint32_t> mine{0, 1};
  if (p.inside && uint32_t(list.branches[p.first + p.at]) != grid.voxels)
    mine = {own.counts[p.first + list.ranks[p.first + p.at]],
            own.first[p.first + list.branches[p.first + p.at]] == p.at};
  scan_chunk(p, mine, own.areas + p.first + p.at, own.area_chunks);
}

// The next voxel that a voxel's component takes up, by rank; kNone for its lowest one.
template <class T>
__device__ __forceinline__ uint32_t next_rank(const Volume<T>& v, const Place& p, uint32_t at,
                                              uint32_t branch) {
  if (at + 1 < v.own.end[p.first + branch]) return uint32_t(v.list.ranks[p.first + at + 1]);
  return rank_of(v.own.joins[p.first + branch]);
}

template <class T>
__global__ void __launch_bounds__(kThreads) sum_terms(Volume<T> v) {
  const Place p(v.grid);
  const uint32_t at = v.grid.voxels - 1 - p.at;  // from the end of the list
  const uint32_t branch = p.inside ? uint32_t(v.list.branches[p.first + at]) : v.grid.voxels;
  Running<double> mine{0, 1};
  if (branch != v.grid.voxels) {
    const uint32_t next = next_rank(v, p, at, branch);
    const double top = v.height(p.first, uint32_t(v.list.ranks[p.first + at]));
    const double bottom = next == kNone ? 0 : v.height(p.first, next);
    const double term =
        top == bottom ? 0 : raised(double(v.area(p, at, branch)), v.extent_power) * (top - bottom);
    mine = {term, at + 1 == v.own.end[p.first + branch]};
  }
  scan_chunk(p, mine, v.own.sums + p.first + at, v.own.term_chunks);
}

template <class T>
__global__ void __launch_bounds__(kThreads) sum_below(Volume<T> v) {
  const Place p(v.grid);
  if (!p.inside || v.own.up[p.first + p.at] != p.at) return;
  double below = 0;
  for (u64 join = v.own.joins[p.first + p.at]; join != kNever;
       join = v.own.joins[p.first + branch_of(join)])
    below += v.sum(p, v.own.places[p.first + rank_of(join)], branch_of(join));
  v.own.below[p.first + p.at] = below;
}

template <class T>
__global__ void __launch_bounds__(kThreads) write_sums(Volume<T> v, T* out) {
  const Place p(v.grid);
  if (!p.inside) return;
  const uint32_t branch = uint32_t(v.list.branches[p.first + p.at]);
  const double total = branch == v.grid.voxels ? 0 : v.sum(p, p.at, branch) + v.own.below[p.first + branch];
  out[p.first + v.list.order[p.first + v.list.ranks[p.first + p.at]]] = from_float<T>(float(total));
}

template <int kSteps, class T>
void launch_branches(const T* x, const int64_t* order, int32_t* branches, const Workspace& own,
                     const Grid& grid, unsigned blocks, cudaStream_t stream) {
  DAL_LAUNCH((number_voxels<T>), blocks, kThreads, 0, stream, x, order, own.ranks, own.up, own.joins, grid);
  check_launch("number_voxels");
  DAL_LAUNCH((climb<kSteps>), blocks, kThreads, 0, stream, own.ranks, own.up, grid);
  check_launch("climb");
  DAL_LAUNCH(climb_to_the_top, blocks, kThreads, 0, stream, own.up, grid);
  check_launch("climb_to_the_top");
  DAL_LAUNCH((connect_branches<kSteps>), blocks, kThreads, 0, stream, own.ranks, own.up, own.joins, grid);
  check_launch("connect_branches");
  DAL_LAUNCH(settle_joins, blocks, kThreads, 0, stream, own.up, own.joins, grid);
  check_launch("settle_joins");
  DAL_LAUNCH(choose_branches, blocks, kThreads, 0, stream, own.up, own.joins, branches, grid);
  check_launch("choose_branches");
}

template <class T>
void sum_branches(const Volume<T>& v, T* out, int64_t volumes, cudaStream_t stream) {
  const Workspace& own = v.own;
  const Grid& grid = v.grid;
  const unsigned blocks = grid_size(volumes * grid.blocks), each = grid_size(volumes);
  DAL_LAUNCH(bound_branches, blocks, kThreads, 0, stream, v.list, own, grid);
  check_launch("bound_branches");
  DAL_LAUNCH(add_sizes, blocks, kThreads, 0, stream, own, grid);
  check_launch("add_sizes");
  DAL_LAUNCH(add_joined, blocks, kThreads, 0, stream, own, grid);
  check_launch("add_joined");
  DAL_LAUNCH(sum_areas, blocks, kThreads, 0, stream, v.list, own, grid);
  check_launch("sum_areas");
  DAL_LAUNCH((carry_on<uint32_t>), each, kCarryThreads, 0, stream, own.area_chunks, grid.blocks);
  check_launch("carry_on");
  DAL_LAUNCH((sum_terms<T>), blocks, kThreads, 0, stream, v);
  check_launch("sum_terms");
  DAL_LAUNCH((carry_on<double>), each, kCarryThreads, 0, stream, own.term_chunks, grid.blocks);
  check_launch("carry_on");
  DAL_LAUNCH((sum_below<T>), blocks, kThreads, 0, stream, v);
  check_launch("sum_below");
  DAL_LAUNCH((write_sums<T>), blocks, kThreads, 0, stream, v, out);
  check_launch("write_sums");
}

bool empty(const Tfce3dProblem& p) { return p.volumes * p.depth * p.height * p.width == 0; }

}  // namespace

int64_t tfce3d_workspace(Tfce3dProblem p) {
  return Workspace(nullptr, Grid(p.depth, p.height, p.width), p.volumes).bytes;
}

void tfce3d_branches(const void* x, const int64_t* order, int32_t* branches, void* workspace,
                     Tfce3dProblem p, DType dtype, void* stream) {
  if (empty(p)) return;
  const Grid grid(p.depth, p.height, p.width);
  const Workspace own(workspace, grid, p.volumes);
  const unsigned blocks = grid_size(p.volumes * grid.blocks);
  with_gpu_dtype(dtype, [&](auto tag) {
    const auto* values = static_cast<const typename decltype(tag)::type*>(x);
    const auto find = p.connectivity == 6    ? launch_branches<1, typename decltype(tag)::type>
                      : p.connectivity == 18 ? launch_branches<2, typename decltype(tag)::type>
                                             : launch_branches<3, typename decltype(tag)::type>;
    find(values, order, branches, own, grid, blocks, as_stream(stream));
  });
}

void tfce3d_sums(const void* x, const int64_t* order, const int32_t* branches, const int64_t* ranks,
                 void* out, void* workspace, Tfce3dProblem p, DType dtype, void* stream) {
  if (empty(p)) return;
  const Grid grid(p.depth, p.height, p.width);
  with_gpu_dtype(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Volume<T> volume{
        static_cast<const T*>(x), {branches, ranks, order}, Workspace(workspace, grid, p.volumes), grid,
        p.extent_power,           p.height_power + 1};
    sum_branches(volume, static_cast<T*>(out), p.volumes, as_stream(stream));
  });
}

}  // namespace cuda
}  // namespace dal
