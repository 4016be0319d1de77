// Instance normalisation and rectifier on a GPU.
//
//   sum_channels    a block a stretch of voxels: for each channel the sum of x - x0 and of its square, x0
//   being
//                   the channel's first voxel, so that the variance is no small difference of large numbers
//   find_scales     a warp a channel: stretches are added in their order, in double; mean, scale and shift
//   apply_scales    y = f((x - mean) scale + shift) on the way through
//
// A thread takes 16 bytes at a time where whole vectors fit, else one value. Channels-last, its vector
// holds neighbouring channels and always the same ones; channel-major, neighbouring voxels of one channel,
// and a stretch lies within it.
#include "gpu.h"
#include "instancenorm/instancenorm.h"

namespace dal {
namespace cuda {
namespace {

constexpr int kThreads = 256, kLanes = 32;
constexpr int64_t kVectorsAThread = 32;

template <class T, int kVector>
struct alignas(sizeof(T) * kVector) Vector {
  T value[kVector];
};

// How the activations are cut up. `rows` are sets of values with statistics of their own for each of their
// `channels`: a scan with all channels, or one channel of one scan; each holds `length` groups of them.
struct Layout {
  int64_t rows, channels, length;  // length: voxels
  int64_t lanes;  // vectors that stand side by side in a voxel; 1 channel-major
  int64_t stretch;  // vectors of a block
  int64_t stretches;  // of a row
  float eps, slope;
};

Layout layout_of(const InstanceNormProblem& p, int vector) {
  Layout l{};
  l.rows = p.channels_last ? p.volumes : p.volumes * p.channels;
  l.channels = p.channels_last ? p.channels : 1;
  l.length = p.voxels;
  l.lanes = p.channels_last ? p.channels / vector : 1;
  // whole voxels; where a block has too few threads for one, no kernel runs, but a workspace is asked for
  l.stretch = (l.lanes < kThreads ? kThreads / l.lanes : 1) * l.lanes * kVectorsAThread;
  l.stretches = ceil_div(ceil_div(l.length * l.channels, vector), l.stretch);
  l.eps = p.eps, l.slope = p.slope;
  return l;
}

// Vectors that a thread takes, from `first` on: (first, last, step).
struct Share {
  int64_t first, last, step;
};

template <int kVector>
__device__ __forceinline__ Share share_of(const Layout& l, int64_t stretch) {
  const int64_t vectors = l.length * l.channels / kVector, start = stretch * l.stretch;
  const int64_t together = kThreads / l.lanes * l.lanes;  // threads that have a channel of their own
  const int64_t end = start + l.stretch < vectors ? start + l.stretch : vectors;
  return {int64_t(threadIdx.x) < together ? start + threadIdx.x : end, end, together};
}

struct Sums {
  float first, second;
};

// (x - mean) scale + shift; what the mean's rounding takes away is in the shift.
struct Scale {
  float mean, scale, shift;
};

template <class T, int kVector, bool kLast>
__global__ void __launch_bounds__(kThreads)
    sum_channels(const T* __restrict__ x, Sums* __restrict__ sums, Layout l) {
  using V = Vector<T, kVector>;
  constexpr int kKept = kLast ? kVector : 1;  // channels of a thread
  __shared__ Sums own[kThreads * kKept];
  const int64_t row = blockIdx.x / l.stretches, stretch = blockIdx.x % l.stretches;
  const T* const values = x + row * l.length * l.channels;
  const int lane = kLast ? int(threadIdx.x % l.lanes) : 0;
  const Share share = share_of<kVector>(l, stretch);
  float origin[kKept], a[kKept] = {}, b[kKept] = {};
#pragma unroll
  for (int j = 0; j < kKept; ++j) origin[j] = to_float(values[lane * kVector + j]);
  for (int64_t i = share.first; i < share.last; i += share.step) {
    const V v = reinterpret_cast<const V*>(values)[i];
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      const int c = kLast ? j : 0;
      const float d = to_float(v.value[j]) - origin[c];
      a[c] += d, b[c] += d * d;
    }
  }
#pragma unroll
  for (int j = 0; j < kKept; ++j) own[threadIdx.x * kKept + j] = {a[j], b[j]};
  __syncthreads();
  // a thread a channel; its values lie `lanes` threads apart
  for (int c = int(threadIdx.x); c < int(l.channels); c += kThreads) {
    Sums total{0.f, 0.f};
    for (int t = kLast ? c / kVector : 0; t < kThreads; t += int(l.lanes)) {
      const Sums& one = own[t * kKept + (kLast ? c % kVector : 0)];
      total.first += one.first, total.second += one.second;
    }
    sums[blockIdx.x * l.channels + c] = total;
  }
}

// One for each channel of each row.
template <class T>
__global__ void __launch_bounds__(kThreads)
    find_scales(const T* __restrict__ x, const Sums* __restrict__ sums, const float* __restrict__ gain,
                const float* __restrict__ shift, Scale* __restrict__ scales, Layout l, int64_t all,
                int64_t channels) {
  const int lane = int(threadIdx.x) % kLanes;
  const int64_t which = (blockIdx.x * int64_t(kThreads) + threadIdx.x) / kLanes;
  const int64_t row = which / l.channels, c = which % l.channels;
  double first = 0, second = 0;
  if (which < all)
    for (int64_t i = lane; i < l.stretches; i += kLanes) {
      const Sums one = sums[(row * l.stretches + i) * l.channels + c];
      first += double(one.first), second += double(one.second);
    }
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) {
    first += __shfl_down_sync(kAllLanes, first, step);
    second += __shfl_down_sync(kAllLanes, second, step);
  }
  if (which >= all || lane != 0) return;
  const double origin = double(to_float(x[row * l.length * l.channels + c]));
  const double mean = first / double(l.length), variance = second / double(l.length) - mean * mean;
  const double inverse = 1. / sqrt((variance > 0 ? variance : 0.) + double(l.eps));
  const int64_t channel = l.channels == 1 ? row % channels : c;
  const double scale = gain ? inverse * double(gain[channel]) : inverse;
  const float rounded = float(origin + mean);
  const double added = (shift ? double(shift[channel]) : 0.) + (double(rounded) - origin - mean) * scale;
  scales[which] = {rounded, float(scale), float(added)};
}

template <class T, int kVector, bool kLast>
__global__ void __launch_bounds__(kThreads)
    apply_scales(const T* x, const Scale* __restrict__ scales, T* y, Layout l) {
  using V = Vector<T, kVector>;
  constexpr int kKept = kLast ? kVector : 1;
  const int64_t row = blockIdx.x / l.stretches, stretch = blockIdx.x % l.stretches;
  const int64_t at = row * l.length * l.channels;
  const int lane = kLast ? int(threadIdx.x % l.lanes) : 0;
  const Share share = share_of<kVector>(l, stretch);
  Scale scale[kKept];
#pragma unroll
  for (int j = 0; j < kKept; ++j) scale[j] = scales[row * l.channels + lane * kVector + j];
  for (int64_t i = share.first; i < share.last; i += share.step) {
    V v = reinterpret_cast<const V*>(x + at)[i];
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      const Scale s = scale[kLast ? j : 0];
      const float t = (to_float(v.value[j]) - s.mean) * s.scale + s.shift;
      v.value[j] = from_float<T>(t > 0.f ? t : l.slope * t);
    }
    reinterpret_cast<V*>(y + at)[i] = v;
  }
}

// Whether whole vectors fit, and a block has a thread for each of a voxel's.
template <class T, int kVector>
bool fits(const void* x, const void* y, const InstanceNormProblem& p) {
  const int64_t side = p.channels_last ? p.channels : p.voxels;
  const bool aligned =
      (reinterpret_cast<uintptr_t>(x) | reinterpret_cast<uintptr_t>(y)) % (sizeof(T) * kVector) == 0;
  return aligned && side % kVector == 0 && (!p.channels_last || p.channels / kVector <= kThreads);
}

template <class T, int kVector, bool kLast>
void run(const T* x, const float* gain, const float* shift, T* y, void* workspace,
         const InstanceNormProblem& p, cudaStream_t stream) {
  const Layout l = layout_of(p, kVector);
  const int64_t all = p.volumes * p.channels;
  Scale* const scales = static_cast<Scale*>(workspace);
  Sums* const sums = reinterpret_cast<Sums*>(scales + all);
  DAL_LAUNCH((sum_channels<T, kVector, kLast>), grid_size(l.rows * l.stretches), kThreads, 0, stream, x,
             sums, l);
  check_launch("sum_channels");
  DAL_LAUNCH(find_scales<T>, grid_size(ceil_div(all * kLanes, kThreads)), kThreads, 0, stream, x, sums,
             gain, shift, scales, l, all, p.channels);
  check_launch("find_scales");
  DAL_LAUNCH((apply_scales<T, kVector, kLast>), grid_size(l.rows * l.stretches), kThreads, 0, stream, x,
             scales, y, l);
  check_launch("apply_scales");
}

template <class T, bool kLast>
void run_vectors(const T* x, const float* gain, const float* shift, T* y, void* workspace,
                 const InstanceNormProblem& p, cudaStream_t stream) {
  constexpr int kMost = 16 / int(sizeof(T));
  if (fits<T, kMost>(x, y, p))
    run<T, kMost, kLast>(x, gain, shift, y, workspace, p, stream);
  else if (fits<T, 1>(x, y, p))
    run<T, 1, kLast>(x, gain, shift, y, workspace, p, stream);
  else
    throw std::invalid_argument("instance_norm takes at most 256 channels that make no whole vectors");
}

}  // namespace

int64_t instance_norm_workspace(InstanceNormProblem p) {
  const Layout l = layout_of(p, 1);  // the most stretches
  return p.volumes * p.channels * (int64_t(sizeof(Scale)) + l.stretches * int64_t(sizeof(Sums)));
}

void instance_norm(const void* x, const float* gain, const float* shift, void* y, void* workspace,
                   InstanceNormProblem p, DType dtype, void* stream_pointer) {
  if (p.volumes * p.channels * p.voxels == 0) return;
  const cudaStream_t stream = as_stream(stream_pointer);
  with_gpu_dtype(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* const in = static_cast<const T*>(x);
    T* const out = static_cast<T*>(y);
    if (p.channels_last)
      run_vectors<T, true>(in, gain, shift, out, workspace, p, stream);
    else
      run_vectors<T, false>(in, gain, shift, out, workspace, p, stream);
  });
}

}  // namespace cuda
}  // namespace dal
