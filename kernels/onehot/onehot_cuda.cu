// One pass over the logits. A thread takes kVec neighbouring voxels, 16 bytes of each row where the
// alignment allows it (else one voxel), and walks over the classes:
//
//   class 0   ····[vvvv]····   kVec voxels of one thread; rows of `voxels` elements, so a warp's
//   class 1   ····[vvvv]····   accesses are contiguous in every row
//   class K-1 ····[vvvv]····
//
// Up to kKept classes stay in registers; with more, the backward pass reads the rows again, from cache.
// See onehot.h for the formulas and README.md for the floor.
#include <cstring>

#include "gpu.h"
#include "onehot/onehot.h"

namespace dal {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kKept = 4;  // classes that are kept in registers
constexpr int kMostLevels = 256;  // grey levels travel as a kernel argument: 1 KB

// Grey level c_k of each class.
struct Levels {
  float c[kMostLevels];
};

// kVec neighbouring elements, moved at once.
template <class T, int kVec>
struct alignas(sizeof(T) * kVec) Pack {
  T v[kVec];
};

template <class T, int kVec>
__device__ __forceinline__ void load(const T* from, float (&to)[kVec]) {
  const auto pack = *reinterpret_cast<const Pack<T, kVec>*>(from);
#pragma unroll
  for (int i = 0; i < kVec; ++i) to[i] = to_float(pack.v[i]);
}

// 16 bytes by one instruction: the compiler splits a plain assignment into words.
__device__ __forceinline__ void store_words(uint4* to, uint4 words) {
#ifdef __CUDA_ARCH__
  __stcg(to, words);
#else
  *to = words;
#endif
}

template <class T, int kVec>
__device__ __forceinline__ void store(const float (&from)[kVec], T* to) {
  Pack<T, kVec> pack;
#pragma unroll
  for (int i = 0; i < kVec; ++i) pack.v[i] = from_float<T>(from[i]);
  if constexpr (sizeof(pack) == sizeof(uint4)) {
    uint4 words;
    memcpy(&words, &pack, sizeof(words));
    store_words(reinterpret_cast<uint4*>(to), words);
  } else {
    *to = pack.v[0];
  }
}

// m(v) of kVec voxels, all inside without a mask.
template <int kVec>
__device__ __forceinline__ void load_mask(const uint8_t* from, bool (&inside)[kVec]) {
  Pack<uint8_t, kVec> pack{};
  if (from) pack = *reinterpret_cast<const Pack<uint8_t, kVec>*>(from);
#pragma unroll
  for (int i = 0; i < kVec; ++i) inside[i] = !from || pack.v[i] != 0;
}

// One thread's kVec voxels of every class row; `stride` elements lie between two rows.
template <class T, int kVec, bool kFew>
class Rows {
 public:
  __device__ __forceinline__ Rows(const T* at, int64_t stride, int classes)
      : at_(at), stride_(stride), classes_(classes) {
    if constexpr (kFew) {
#pragma unroll
      for (int k = 0; k < kKept; ++k)
        if (k < classes) load(at + k * stride, kept_[k]);
    }
  }

  // Calls f(k, row) for every class, row: float (&)[kVec]. With few classes f may change the row, and
  // the next call sees the change.
  template <class F>
  __device__ __forceinline__ void for_each(F f) {
    if constexpr (kFew) {
#pragma unroll
      for (int k = 0; k < kKept; ++k)
        if (k < classes_) f(k, kept_[k]);
    } else {
      for (int k = 0; k < classes_; ++k) {
        float row[kVec];
        load(at_ + k * stride_, row);
        f(k, row);
      }
    }
  }

 private:
  const T* at_;
  int64_t stride_;
  int classes_;
  float kept_[kFew ? kKept : 1][kVec];
};

// First voxel of this thread, and the volume it belongs to; `blocks` of the grid share a volume.
template <int kVec>
struct Place {
  int64_t volume, voxel;
  __device__ __forceinline__ explicit Place(unsigned blocks)
      : volume(blockIdx.x / blocks),
        voxel((int64_t(blockIdx.x % blocks) * kThreads + threadIdx.x) * kVec) {}
};

// out: (batch, classes, voxels) one-hot, or (batch, 1, voxels) anatomical image.
template <class T, int kVec, bool kFew, bool kAnatomy>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const T* logits, Levels levels, const uint8_t* mask, T* out, OnehotShape shape,
                   unsigned blocks) {
  const Place<kVec> at(blocks);
  if (at.voxel >= shape.voxels) return;
  const int classes = int(shape.classes);
  Rows<T, kVec, kFew> rows(logits + at.volume * classes * shape.voxels + at.voxel, shape.voxels, classes);
  float top[kVec] = {}, level[kVec] = {};
  int best[kVec] = {};
  rows.for_each([&](int k, const float (&z)[kVec]) {
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      const bool higher = k == 0 || z[i] > top[i];
      top[i] = higher ? z[i] : top[i];
      best[i] = higher ? k : best[i];
      if constexpr (kAnatomy) level[i] = higher ? levels.c[k] : level[i];
    }
  });
  if constexpr (kAnatomy) {
    const int64_t voxel = at.volume * shape.voxels + at.voxel;
    bool inside[kVec];
    load_mask(mask ? mask + voxel : nullptr, inside);
#pragma unroll
    for (int i = 0; i < kVec; ++i) level[i] = inside[i] ? level[i] : 0.f;
    store(level, out + voxel);
  } else {
    T* const first = out + at.volume * classes * shape.voxels + at.voxel;
    for (int k = 0; k < classes; ++k) {
      float row[kVec];
#pragma unroll
      for (int i = 0; i < kVec; ++i) row[i] = best[i] == k ? 1.f : 0.f;
      store(row, first + k * shape.voxels);
    }
  }
}

// g_k(v), the gradient of y_k: a row of grad_out, or m(v) c_k g(v).
template <class T, int kVec, bool kFew, bool kAnatomy>
class Gradient;

template <class T, int kVec, bool kFew>
class Gradient<T, kVec, kFew, false> {
 public:
  __device__ __forceinline__ Gradient(const T* grad, const uint8_t*, OnehotShape shape, Place<kVec> at)
      : at_(grad + at.volume * shape.classes * shape.voxels + at.voxel), stride_(shape.voxels) {
    if constexpr (kFew) {
#pragma unroll
      for (int k = 0; k < kKept; ++k)
        if (k < shape.classes) load(at_ + k * stride_, kept_[k]);
    }
  }
  __device__ __forceinline__ void row(int k, const Levels&, float (&g)[kVec]) const {
    if constexpr (kFew) {
#pragma unroll
      for (int i = 0; i < kVec; ++i) g[i] = kept_[k][i];
    } else {
      load(at_ + k * stride_, g);
    }
  }

 private:
  const T* at_;
  int64_t stride_;
  float kept_[kFew ? kKept : 1][kVec];
};

template <class T, int kVec, bool kFew>
class Gradient<T, kVec, kFew, true> {
 public:
  __device__ __forceinline__ Gradient(const T* grad, const uint8_t* mask, OnehotShape shape,
                                      Place<kVec> at) {
    const int64_t voxel = at.volume * shape.voxels + at.voxel;
    bool inside[kVec];
    load_mask(mask ? mask + voxel : nullptr, inside);
    load(grad + voxel, g_);
#pragma unroll
    for (int i = 0; i < kVec; ++i) g_[i] = inside[i] ? g_[i] : 0.f;
  }
  __device__ __forceinline__ void row(int k, const Levels& levels, float (&g)[kVec]) const {
#pragma unroll
    for (int i = 0; i < kVec; ++i) g[i] = g_[i] * levels.c[k];
  }

 private:
  float g_[kVec];
};

// e_k = exp((z_k - max z) / T);  dL/dz_k = e_k / sum e (g_k - sum_j e_j g_j / sum e) / T
template <class T, int kVec, bool kFew, bool kAnatomy>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(const T* logits, const T* grad_out, Levels levels, const uint8_t* mask, T* grad_logits,
                    OnehotShape shape, float inverse_t, unsigned blocks) {
  const Place<kVec> at(blocks);
  if (at.voxel >= shape.voxels) return;
  const int classes = int(shape.classes);
  const int64_t first = at.volume * classes * shape.voxels + at.voxel;
  Rows<T, kVec, kFew> rows(logits + first, shape.voxels, classes);
  const Gradient<T, kVec, kFew, kAnatomy> gradient(grad_out, mask, shape, at);
  float top[kVec] = {}, sum[kVec] = {}, dot[kVec] = {};
  rows.for_each([&](int k, const float (&z)[kVec]) {
#pragma unroll
    for (int i = 0; i < kVec; ++i) top[i] = k == 0 || top[i] < z[i] ? z[i] : top[i];
  });
  rows.for_each([&](int k, float (&z)[kVec]) {
    float g[kVec];
    gradient.row(k, levels, g);
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      z[i] = expf((z[i] - top[i]) * inverse_t);
      sum[i] += z[i];
      dot[i] += z[i] * g[i];
    }
  });
#pragma unroll
  for (int i = 0; i < kVec; ++i) {
    sum[i] = 1.f / sum[i];
    dot[i] *= sum[i];
  }
  rows.for_each([&](int k, const float (&z)[kVec]) {
    float g[kVec];
    gradient.row(k, levels, g);
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      const float e = kFew ? z[i] : expf((z[i] - top[i]) * inverse_t);
      g[i] = e * sum[i] * (g[i] - dot[i]) * inverse_t;
    }
    store(g, grad_logits + first + k * shape.voxels);
  });
}

Levels levels_of(const double* levels, int64_t classes) {
  if (levels && classes > kMostLevels)
    throw std::invalid_argument("the CUDA kernels take at most 256 grey levels, not " +
                                std::to_string(classes));
  Levels all{};
  for (int64_t k = 0; levels && k < classes; ++k) all.c[k] = float(levels[k]);
  return all;
}

template <class T, int kVec>
bool is_aligned(const void* p) {
  return reinterpret_cast<uintptr_t>(p) % (sizeof(T) * kVec) == 0;
}

// Calls f(vec, few, anatomy), integral constants: voxels a thread, whether the classes fit into
// registers, whether there are levels.
template <class T, class F>
void with_variant(bool vectors, bool few, bool anatomy, F f) {
  constexpr int kVec = 16 / sizeof(T);
  const auto classes = [&](auto vec, auto is_anatomy) {
    few ? f(vec, std::true_type{}, is_anatomy) : f(vec, std::false_type{}, is_anatomy);
  };
  const auto kind = [&](auto vec) {
    anatomy ? classes(vec, std::true_type{}) : classes(vec, std::false_type{});
  };
  vectors ? kind(std::integral_constant<int, kVec>{}) : kind(std::integral_constant<int, 1>{});
}

template <class T>
void forward(const T* logits, const double* levels, const uint8_t* mask, T* out, OnehotShape shape,
             cudaStream_t stream) {
  constexpr int kVec = 16 / sizeof(T);
  const Levels c = levels_of(levels, shape.classes);
  const bool vectors = shape.voxels % kVec == 0 && is_aligned<T, kVec>(logits) &&
                       is_aligned<T, kVec>(out) && is_aligned<uint8_t, kVec>(mask);
  with_variant<T>(vectors, shape.classes <= kKept, levels != nullptr,
                  [&](auto vec, auto few, auto anatomy) {
                    const int64_t blocks = ceil_div(shape.voxels, int64_t(vec) * kThreads);
                    DAL_LAUNCH((forward_kernel<T, vec, few, anatomy>), grid_size(shape.batch * blocks),
                               kThreads, 0, stream, logits, c, mask, out, shape, unsigned(blocks));
                  });
  check_launch("onehot_forward");
}

template <class T>
void backward(const T* logits, const T* grad_out, const double* levels, const uint8_t* mask, T* grad_logits,
              OnehotShape shape, float inverse_t, cudaStream_t stream) {
  constexpr int kVec = 16 / sizeof(T);
  const Levels c = levels_of(levels, shape.classes);
  const bool vectors = shape.voxels % kVec == 0 && is_aligned<T, kVec>(logits) &&
                       is_aligned<T, kVec>(grad_out) && is_aligned<T, kVec>(grad_logits) &&
                       is_aligned<uint8_t, kVec>(mask);
  with_variant<T>(
      vectors, shape.classes <= kKept, levels != nullptr, [&](auto vec, auto few, auto anatomy) {
        const int64_t blocks = ceil_div(shape.voxels, int64_t(vec) * kThreads);
        DAL_LAUNCH((backward_kernel<T, vec, few, anatomy>), grid_size(shape.batch * blocks), kThreads, 0,
                   stream, logits, grad_out, c, mask, grad_logits, shape, inverse_t, unsigned(blocks));
      });
  check_launch("onehot_backward");
}

}  // namespace

void onehot_forward(const void* logits, const double* levels, const uint8_t* mask, void* out,
                    OnehotShape shape, DType dtype, void* stream) {
  if (shape.batch * shape.voxels == 0) return;
  with_gpu_dtype(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    forward(static_cast<const T*>(logits), levels, mask, static_cast<T*>(out), shape, as_stream(stream));
  });
}

void onehot_backward(const void* logits, const void* grad_out, const double* levels, const uint8_t* mask,
                     void* grad_logits, OnehotShape shape, double temperature, DType dtype, void* stream) {
  if (shape.batch * shape.voxels == 0) return;
  with_gpu_dtype(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    backward(static_cast<const T*>(logits), static_cast<const T*>(grad_out), levels, mask,
             static_cast<T*>(grad_logits), shape, float(1 / temperature), as_stream(stream));
  });
}

}  // namespace cuda
}  // namespace dal
