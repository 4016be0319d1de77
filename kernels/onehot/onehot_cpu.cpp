// One pass over the logits, a chunk of voxels at a time that stays in L1; the compiler vectorises the
// inner loops over voxels. See onehot.h for the formulas and README.md for the roofline.
#include <algorithm>

#include "onehot/onehot.h"
#include "pages.h"
#include "parallel.h"
#include "simd.h"

namespace dal {
namespace DAL_ISA {
namespace {

constexpr int kChunk = 1024;  // voxels per chunk: five float rows of it fill 20 KB of L1

int64_t chunks_of(int64_t voxels) { return (voxels + kChunk - 1) / kChunk; }

// exp(x) for x <= 0 in float, relative error below 2e-7: 2^n * p(f) by Cody-Waite reduction. NaN stays.
DAL_INLINE float exp_nonpositive(float x) {
  x = x < -87.f ? -87.f : x;
  const float n = std::nearbyint((x <= 0.f ? x : 0.f) * 1.44269504f);  // an integer of NaN has no value
  const float f = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * f + 1.3981999507e-3f;
  p = p * f + 8.3334519073e-3f;
  p = p * f + 4.1665795894e-2f;
  p = p * f + 1.6666665459e-1f;
  p = p * f + 5.0000001201e-1f;
  p = p * f * f + f + 1.f;
  const int32_t bits = (int32_t(n) + 127) << 23;
  float scale;
  __builtin_memcpy(&scale, &bits, 4);
  return p * scale;
}
DAL_INLINE double exp_nonpositive(double x) { return std::exp(x); }

// best[i] = argmax over classes of logits[k * stride + i]; a NaN never wins against an earlier class.
template <class S>
void argmax_chunk(const S* logits, int64_t stride, int64_t classes, int n, int32_t* best) {
  using A = arithmetic_t<S>;
  A top[kChunk], row[kChunk];
  load_row(logits, n, top);
  std::fill(best, best + n, 0);
  for (int64_t k = 1; k < classes; ++k) {
    load_row(logits + k * stride, n, row);
    for (int i = 0; i < n; ++i) {
      const bool higher = row[i] > top[i];
      top[i] = higher ? row[i] : top[i];
      best[i] = higher ? int32_t(k) : best[i];
    }
  }
}

template <class S>
void write_onehot(const int32_t* best, int64_t stride, int64_t classes, int n, S* out) {
  S zero, one;
  from_arithmetic(arithmetic_t<S>(0), &zero);
  from_arithmetic(arithmetic_t<S>(1), &one);
  for (int64_t k = 0; k < classes; ++k) {
    S* row = out + k * stride;
    for (int i = 0; i < n; ++i) row[i] = best[i] == k ? one : zero;
  }
}

template <class S>
void write_anatomy(const int32_t* best, const double* levels, const uint8_t* mask, int n, S* out) {
  for (int i = 0; i < n; ++i) {
    const auto level = arithmetic_t<S>(levels[best[i]]);
    from_arithmetic(mask && !mask[i] ? arithmetic_t<S>(0) : level, out + i);
  }
}

template <class S>
void forward(const S* logits, const double* levels, const uint8_t* mask, S* out, OnehotShape shape,
             int threads) {
  const int64_t chunks = chunks_of(shape.voxels);
  const int64_t out_rows = levels ? 1 : shape.classes;
  prefer_huge_pages(out, sizeof(S) * size_t(shape.batch * out_rows * shape.voxels), threads);
  parallel_for(shape.batch * chunks, threads, [&](int64_t task, int) {
    const int64_t b = task / chunks, first = task % chunks * kChunk;
    const int n = int(std::min<int64_t>(kChunk, shape.voxels - first));
    int32_t best[kChunk];
    argmax_chunk(logits + b * shape.classes * shape.voxels + first, shape.voxels, shape.classes, n, best);
    S* o = out + b * out_rows * shape.voxels + first;
    if (levels)
      write_anatomy(best, levels, mask ? mask + b * shape.voxels + first : nullptr, n, o);
    else
      write_onehot(best, shape.voxels, shape.classes, n, o);
  });
}

// One chunk of dL/dz. The softmax numerators e_k = exp((z_k - max z) / T) are computed twice rather
// than kept: classes may be many, the stack is not.
template <class S>
void backward_chunk(const S* z, const S* g, const double* levels, const uint8_t* mask, S* out,
                    int64_t stride, int64_t classes, int n, arithmetic_t<S> inverse_t) {
  using A = arithmetic_t<S>;
  A top[kChunk], sum[kChunk], dot[kChunk], row[kChunk], grad[kChunk];
  const auto grad_row = [&](int64_t k) {
    load_row(levels ? g : g + k * stride, n, grad);
    if (levels)
      for (int i = 0; i < n; ++i) grad[i] = mask && !mask[i] ? A(0) : grad[i] * A(levels[k]);
  };
  load_row(z, n, top);
  for (int64_t k = 1; k < classes; ++k) {
    load_row(z + k * stride, n, row);
    for (int i = 0; i < n; ++i) top[i] = std::max(top[i], row[i]);
  }
  std::fill(sum, sum + n, A(0));
  std::fill(dot, dot + n, A(0));
  for (int64_t k = 0; k < classes; ++k) {
    load_row(z + k * stride, n, row);
    grad_row(k);
    for (int i = 0; i < n; ++i) {
      const A e = exp_nonpositive((row[i] - top[i]) * inverse_t);
      sum[i] += e;
      dot[i] += e * grad[i];
    }
  }
  for (int i = 0; i < n; ++i) {
    sum[i] = A(1) / sum[i];
    dot[i] *= sum[i];
  }
  for (int64_t k = 0; k < classes; ++k) {
    load_row(z + k * stride, n, row);
    grad_row(k);
    for (int i = 0; i < n; ++i) {
      const A p = exp_nonpositive((row[i] - top[i]) * inverse_t) * sum[i];
      row[i] = p * (grad[i] - dot[i]) * inverse_t;
    }
    store_row(row, n, out + k * stride);
  }
}

template <class S>
void backward(const S* logits, const S* grad_out, const double* levels, const uint8_t* mask, S* grad_logits,
              OnehotShape shape, double temperature, int threads) {
  const int64_t chunks = chunks_of(shape.voxels);
  const int64_t grad_rows = levels ? 1 : shape.classes;
  prefer_huge_pages(grad_logits, sizeof(S) * size_t(shape.batch * shape.classes * shape.voxels), threads);
  parallel_for(shape.batch * chunks, threads, [&](int64_t task, int) {
    const int64_t b = task / chunks, first = task % chunks * kChunk;
    const int n = int(std::min<int64_t>(kChunk, shape.voxels - first));
    const int64_t at = b * shape.classes * shape.voxels + first;
    backward_chunk(logits + at, grad_out + b * grad_rows * shape.voxels + first, levels,
                   mask ? mask + b * shape.voxels + first : nullptr, grad_logits + at, shape.voxels,
                   shape.classes, n, arithmetic_t<S>(1 / temperature));
  });
}

}  // namespace

void onehot_forward(const void* logits, const double* levels, const uint8_t* mask, void* out,
                    OnehotShape shape, DType dtype, int threads) {
  with_dtype(dtype, [&](auto tag) {
    using S = typename decltype(tag)::type;
    forward(static_cast<const S*>(logits), levels, mask, static_cast<S*>(out), shape, threads);
  });
}

void onehot_backward(const void* logits, const void* grad_out, const double* levels, const uint8_t* mask,
                     void* grad_logits, OnehotShape shape, double temperature, DType dtype, int threads) {
  with_dtype(dtype, [&](auto tag) {
    using S = typename decltype(tag)::type;
    backward(static_cast<const S*>(logits), static_cast<const S*>(grad_out), levels, mask,
             static_cast<S*>(grad_logits), shape, temperature, threads);
  });
}

}  // namespace DAL_ISA
}  // namespace dal
