// Launchers on a GPU: shifts of every volume, then the tiles, then the sums of the tiles in a fixed order.
// The filtering is in march.cuh (the usual windows) and any_radius.cuh, the formulas in combine.cuh.
#include <algorithm>
#include <limits>

#include "ssim_l1/any_radius.cuh"
#include "ssim_l1/march.cuh"

namespace dal {
namespace cuda {
namespace {

constexpr int64_t kMaxAxis = int64_t(1) << 23;  // offsets inside a tile of `fields` are 32-bit

constexpr int kSumThreads = 512;

// Sum over the block's 512 threads, in a fixed order; only thread 0 gets it.
__device__ double block_sum(double v) {
  __shared__ double sums[kSumThreads / 32];
  for (int distance = 16; distance > 0; distance /= 2) v += __shfl_down_sync(kAllLanes, v, distance);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = v;
  __syncthreads();
  double sum = 0;
  if (threadIdx.x == 0)
    for (int warp = 0; warp < kSumThreads / 32; ++warp) sum += sums[warp];
  __syncthreads();
  return sum;
}

// shifts[volume]: means of the finite ones among at most 16 x 4 x 64 voxels. One block a volume and input.
__global__ void __launch_bounds__(kSumThreads) sample_shift(Inputs in, Shape shape, float* shifts) {
  const int64_t volume = blockIdx.x / 2;
  const void* const p = blockIdx.x % 2 ? in.y : in.x;
  const int nz = min(16, shape.depth), ny = min(4, shape.height), nx = min(64, shape.width);
  float sum = 0;
  int count = 0;
  for (int i = threadIdx.x; i < nz * ny * nx; i += kSumThreads) {
    const int z = (2 * (i / nx / ny) + 1) * shape.depth / (2 * nz);
    const int y = (2 * (i / nx % ny) + 1) * shape.height / (2 * ny);
    const int x = (2 * (i % nx) + 1) * shape.width / (2 * nx);
    const float v = load(p, ((volume * shape.depth + z) * shape.height + y) * shape.width + x, in.dtype);
    const bool finite = fabsf(v) <= 3.4028235e38f;
    sum += finite ? v : 0.0f;
    count += finite;
  }
  const double total = block_sum(double(sum)), voxels = block_sum(double(count));
  if (threadIdx.x == 0) shifts[blockIdx.x] = voxels > 0 ? float(total / voxels) : 0.0f;
}

// sums[0..1] = sum of partial (blocks, 2)
__global__ void __launch_bounds__(kSumThreads)
    add_partials(const double* partial, int64_t blocks, double* sums) {
  double l1 = 0, dissimilarity = 0;
  for (int64_t i = threadIdx.x; i < blocks; i += kSumThreads) {
    l1 += partial[2 * i];
    dissimilarity += partial[2 * i + 1];
  }
  l1 = block_sum(l1);
  dissimilarity = block_sum(dissimilarity);
  if (threadIdx.x > 0) return;
  sums[0] = l1;
  sums[1] = dissimilarity;
}

// march() is compiled for the windows in use, 7 and 11: every further one costs all builds seconds.
bool marches(int radius) { return radius == 3 || radius == 5; }

bool empty(const SsimProblem& p) { return p.volumes * p.depth * p.height * p.width == 0; }

// Shares the tiles' planes out so that the longest way through is the shortest, a tile's run-up costing
// about as much as 1.2 r finished planes; kBlocks fill a multiprocessor. Depends on shape and radius only:
// the sums are the same bits on every GPU.
void share_out(Shape& s, int64_t tiles, int radius) {
  constexpr int64_t kSlots = kBlocks * kMultiprocessors;
  double best = std::numeric_limits<double>::infinity();
  for (int64_t groups = std::min<int64_t>(tiles, 1024); groups > 0; --groups) {
    if (tiles % groups > 0) continue;
    const int64_t length = tiles / groups * s.depth, waves = ceil_div(groups, kSlots);
    const int64_t share = ceil_div(length, waves * kSlots / groups);
    const bool whole = s.depth % share == 0 || share % s.depth == 0;  // no tile is divided without need
    const int64_t parts = whole ? ceil_div(share, int64_t(s.depth)) : (share - 1) / s.depth + 2;
    const double time = double(waves) * (double(share) + 1.2 * radius * double(parts));
    if (time >= best) continue;
    best = time;
    s.groups = int(groups), s.share = int(share), s.length = length;
  }
}

Shape shape_of(const SsimProblem& p) {
  if (std::max({p.depth, p.height, p.width}) > kMaxAxis)
    throw std::invalid_argument("ssim: an axis is longer than 2^23 voxels");
  Shape s;
  s.depth = int(p.depth), s.height = int(p.height), s.width = int(p.width);
  s.tiles_x = int(ceil_div(p.width, kTileX)), s.tiles_y = int(ceil_div(p.height, kTileY));
  const int64_t tiles = p.volumes * s.tiles_x * s.tiles_y;
  if (marches(p.radius)) {
    share_out(s, tiles, p.radius);
  } else {  // one plane a block
    s.groups = int(grid_size(tiles)), s.share = 1, s.length = p.depth;
  }
  return s;
}

int64_t blocks_of(const Shape& s) { return s.groups * ceil_div(s.length, int64_t(s.share)); }

// The workspace: sums of every block, shifts of every volume.
double* partials(const SsimProblem& p) { return static_cast<double*>(p.workspace); }
Shift* shifts(const SsimProblem& p, const Shape& s) {
  return reinterpret_cast<Shift*>(partials(p) + 2 * blocks_of(s));
}

bool aligned(const void* p, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(p) % uintptr_t(bytes) == 0;
}

Inputs inputs(const void* x, const void* y, const SsimProblem& p, const Shape& s) {
  const int64_t four =
      with_gpu_dtype(p.dtype, [](auto tag) -> int64_t { return 4 * sizeof(typename decltype(tag)::type); });
  const bool whole = p.width % 4 == 0 && aligned(x, four) && aligned(y, four);
  return {x, y, shifts(p, s), float(p.c1), float(p.c2), p.dtype, whole};
}

template <int R, bool kSingle, class Source, class Work>
void launch_march(const Source& source, const Work& work, const SsimProblem& p, const Weights& w,
                  cudaStream_t stream) {
  const int bytes = Layout<R, Source>::kFloats * int(sizeof(float));
  check_call(cudaFuncSetAttribute(march<R, Source, Work, kSingle>,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
             "ssim march: shared memory");
  DAL_LAUNCH((march<R, Source, Work, kSingle>), grid_size(blocks_of(source.shape)), kThreads, bytes, stream,
             source, work, source.shape, w);
  check_launch("ssim march");
}

template <class Source, class Work>
void launch_any(const Source& source, const Work& work, const SsimProblem& p, const Weights& w,
                cudaStream_t stream) {
  const int bytes = AnyLayout(p.radius).bytes();
  check_call(
      cudaFuncSetAttribute(any_radius<Source, Work>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
      "ssim any_radius: shared memory");
  DAL_LAUNCH((any_radius<Source, Work>), grid_size(blocks_of(source.shape)), kThreads, bytes, stream,
             source, work, source.shape, w, p.radius);
  check_launch("ssim any_radius");
}

// Every tile of `source` through `work`.
template <class Source, class Work>
void launch(const Source& source, const Work& work, const SsimProblem& p, void* stream_) {
  const cudaStream_t stream = as_stream(stream_);
  const Shape& shape = source.shape;
  DAL_LAUNCH(sample_shift, grid_size(2 * p.volumes), kSumThreads, 0, stream, source.in, shape,
             reinterpret_cast<float*>(shifts(p, shape)));
  check_launch("ssim sample_shift");
  Weights w = {};
  for (int d = 0; d <= p.radius; ++d) w.w[d] = float(p.weights[d]);
  if (p.radius == 3) return launch_march<3, false>(source, work, p, w, stream);
  if (p.radius == 5 && source.in.single()) return launch_march<5, true>(source, work, p, w, stream);
  if (p.radius == 5) return launch_march<5, false>(source, work, p, w, stream);
  launch_any(source, work, p, w, stream);
}

}  // namespace

int64_t ssim_workspace(SsimProblem p) {
  if (empty(p)) return 0;
  return blocks_of(shape_of(p)) * 2 * int64_t(sizeof(double)) + p.volumes * int64_t(sizeof(Shift));
}

void ssim_map(const void* x, const void* y, void* out, bool hybrid, SsimProblem p, void* stream) {
  if (empty(p)) return;
  const Shape shape = shape_of(p);
  const Inputs in = inputs(x, y, p, shape);
  launch(Moments{in, shape}, MapWork{{in, shape}, out, hybrid}, p, stream);
}

void ssim_sums(const void* x, const void* y, double* sums, void* fields, SsimProblem p, void* stream) {
  int64_t blocks = 0;
  if (!empty(p)) {
    const Shape shape = shape_of(p);
    const Inputs in = inputs(x, y, p, shape);
    const FieldWork work = {
        in, shape, nullptr, static_cast<float*>(fields), int(ssim_padded(p.width)), partials(p)};
    launch(Moments{in, shape}, work, p, stream);
    blocks = blocks_of(shape);
  }
  DAL_LAUNCH(add_partials, 1, kSumThreads, 0, as_stream(stream), partials(p), blocks, sums);
  check_launch("ssim add_partials");
}

void ssim_fields(const void* x, const void* y, const void* grad, void* fields, SsimProblem p,
                 void* stream) {
  if (empty(p)) return;
  const Shape shape = shape_of(p);
  const Inputs in = inputs(x, y, p, shape);
  const FieldWork work = {
      {in, shape}, grad, static_cast<float*>(fields), int(ssim_padded(p.width)), nullptr};
  launch(Moments{in, shape}, work, p, stream);
}

void ssim_backward(const void* x, const void* y, const void* fields, const double* upstream, double scale,
                   double l1, void* grad_x, void* grad_y, SsimProblem p, void* stream) {
  if (empty(p)) return;
  const Shape shape = shape_of(p);
  const Inputs in = inputs(x, y, p, shape);
  const Derivatives source = {static_cast<const float*>(fields), int(ssim_padded(p.width)), shape, in};
  launch(source, GradientWork{in, shape, upstream, scale, l1, grad_x, grad_y}, p, stream);
}

}  // namespace cuda
}  // namespace dal
