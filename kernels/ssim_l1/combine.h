// What becomes of filtered rows: SSIM, hybrid score, sums, derivative fields, gradients. Plain loops over
// a row, which the compiler vectorises; notation and formulas as in ssim_l1.h.
// Include only from ssim_l1_cpu.cpp.
#pragma once
#include "ssim_l1/march.h"

namespace dal {
namespace DAL_ISA {
namespace {

// Shifts s (of x) and t (of y) of every volume, near the means of the finite voxels.
struct Shift {
  double x, y;
};

// P1, Q1, P2, Q2 of one voxel. Q2 and P2 - c2 are variances: what rounding makes negative is 0, so that
// |SSIM| <= 1 holds in floating point too. A NaN passes.
template <class T>
struct Local {
  T mu_u, mu_v, p1, q1, p2, q2;
};
template <class T>
struct Constants {
  T c1, c2, shift_u, shift_v;
};

template <class T>
DAL_INLINE T not_negative(T v) {
  return v < T(0) ? T(0) : v;
}

template <class T>
DAL_INLINE Local<T> local(T u, T uu, T v, T vv, const Constants<T>& c) {
  Local<T> l;
  l.mu_u = u + c.shift_u;
  l.mu_v = v + c.shift_v;
  l.q1 = T(0.5) * l.mu_u * l.mu_u;
  l.p1 = T(0.5) * l.mu_v * l.mu_v + c.c1;
  l.q2 = T(0.5) * not_negative(uu - u * u);
  l.p2 = T(0.5) * not_negative(vv - v * v) + c.c2;
  return l;
}

template <class T>
void ssim_row(const T* const* f, int64_t n, const Constants<T> c, T* __restrict out) {
  const T *u = f[0], *uu = f[1], *v = f[2], *vv = f[3];
  for (int64_t i = 0; i < n; ++i) {
    const Local<T> l = local(u[i], uu[i], v[i], vv[i], c);
    out[i] = ((l.p1 - l.q1) * (l.p2 - l.q2)) / ((l.p1 + l.q1) * (l.p2 + l.q2));
  }
}

// 1 - SSIM, without the subtraction: never negative. Times g, if given.
template <bool kGiven, class T>
void dissimilarity_row(const T* const* f, const T* __restrict g, int64_t n, const Constants<T> c,
                       T* __restrict out) {
  const T *u = f[0], *uu = f[1], *v = f[2], *vv = f[3];
  for (int64_t i = 0; i < n; ++i) {
    const Local<T> l = local(u[i], uu[i], v[i], vv[i], c);
    const T rest = T(2) * (l.p1 * l.q2 + l.q1 * l.p2) / ((l.p1 + l.q1) * (l.p2 + l.q2));
    out[i] = kGiven ? rest * g[i] : rest;
  }
}

// Derivatives of g * SSIM by F[u], F[u^2], F[v], F[v^2]. With r = 1 / ((P1+Q1)(P2+Q2)),
// q = SSIM, A = P - Q, B = P + Q:
//   by the variance of u:  -r (A1 + q B1) / 2          by Mu (variance fixed):  -r Mu (A2 + q B2)
//   by the variance of v:   r (A1 - q B1) / 2          by Mv:                    r Mv (A2 - q B2)
// and the variance falls by 2 F[u] for every unit of F[u]. Without a g it is 1, and 1 - SSIM goes to
// `rest`.
template <bool kGiven, class T>
void derivative_rows(const T* const* f, const T* __restrict g, int64_t n, const Constants<T> c,
                     T* __restrict by_u, T* __restrict by_uu, T* __restrict by_v, T* __restrict by_vv,
                     T* __restrict rest) {
  const T *u = f[0], *uu = f[1], *v = f[2], *vv = f[3];
  for (int64_t i = 0; i < n; ++i) {
    const Local<T> l = local(u[i], uu[i], v[i], vv[i], c);
    const T a1 = l.p1 - l.q1, b1 = l.p1 + l.q1, a2 = l.p2 - l.q2, b2 = l.p2 + l.q2;
    const T r = T(1) / (b1 * b2), q = a1 * a2 * r, weight = kGiven ? g[i] * r : r;
    if (!kGiven) rest[i] = T(2) * (l.p1 * l.q2 + l.q1 * l.p2) * r;
    const T by_var_u = T(-0.5) * weight * (a1 + q * b1), by_var_v = T(0.5) * weight * (a1 - q * b1);
    by_u[i] = -weight * l.mu_u * (a2 + q * b2) - T(2) * u[i] * by_var_u;
    by_uu[i] = by_var_u;
    by_v[i] = weight * l.mu_v * (a2 - q * b2) - T(2) * v[i] * by_var_v;
    by_vv[i] = by_var_v;
  }
}

// Sum of a row, in lanes first; the order depends on n only.
template <class T>
double sum_row(const T* row, int64_t n) {
  vec<T> sum{};
  int64_t i = 0;
  for (; i + lanes<T> <= n; i += lanes<T>) sum += load(row + i);
  sum += load_n(row + i, int(n - i));
  double total = 0;
  for (int k = 0; k < lanes<T>; ++k) total += double(sum[k]);
  return total;
}

// The two inputs.
template <class S>
struct Pair {
  using T = arithmetic_t<S>;
  const S *x, *y;
  const SsimProblem& p;
  const Shift* shifts;

  int64_t offset(int64_t volume, int64_t z, int64_t row) const {
    return ((volume * p.depth + z) * p.height + row) * p.width;
  }
  Constants<T> constants(int64_t volume) const {
    const T s = T(shifts[volume].x), t = T(shifts[volume].y);
    return {T(p.c1), T(p.c2), s - t, s + t};
  }
  // u and v of the row at `at`
  void shifted(int64_t at, T s, T t, T* __restrict u, T* __restrict v) const {
    const S *a = x + at, *b = y + at;
    for (int64_t i = 0; i < p.width; ++i) {
      const T d = to_arithmetic(a[i]) - s, e = to_arithmetic(b[i]) - t;
      u[i] = d - e;
      v[i] = d + e;
    }
  }
  // the row at `at` on its way to the cache; it may lie beyond the end
  void prefetch(int64_t at) const {
    const uintptr_t a = uintptr_t(x) + uintptr_t(at) * sizeof(S),
                    b = uintptr_t(y) + uintptr_t(at) * sizeof(S);
    for (uintptr_t i = 0; i < uintptr_t(p.width) * sizeof(S); i += 64) {
      __builtin_prefetch(reinterpret_cast<const void*>(a + i), 0, 2);
      __builtin_prefetch(reinterpret_cast<const void*>(b + i), 0, 2);
    }
  }
  // out = |x - y| of the row at `at`
  void distance(int64_t at, T* __restrict out) const {
    const S *a = x + at, *b = y + at;
    for (int64_t i = 0; i < p.width; ++i) out[i] = std::abs(to_arithmetic(a[i]) - to_arithmetic(b[i]));
  }
};

template <class S>
struct PairWork : RowWork<arithmetic_t<S>>, Pair<S> {
  using typename Pair<S>::T;
  explicit PairWork(const Pair<S>& pair) : Pair<S>(pair) {}

  void load(int64_t volume, int64_t z, int64_t y, T* u, T* v) const final {
    const Shift shift = this->shifts[volume];
    const int64_t n = this->p.width, padded = ssim_padded(n);
    const int64_t at = this->offset(volume, z, y);
    this->shifted(at, T(shift.x), T(shift.y), u, v);
    this->prefetch(at + this->p.height * n);
    std::fill(u + n, u + padded, T(0));
    std::fill(v + n, v + padded, T(0));
  }
};

// Where a row is computed: in place, or in `spare` when another type is stored.
template <class T>
T* row_of(T* at, T*) {
  return at;
}
template <class S, class T>
T* row_of(S*, T* spare) {
  return spare;
}

template <class S>
struct MapWork final : PairWork<S> {
  using typename PairWork<S>::T;
  S* out;
  bool hybrid;
  MapWork(const Pair<S>& pair, S* out_, bool hybrid_) : PairWork<S>(pair), out(out_), hybrid(hybrid_) {}

  void combine(int64_t volume, int64_t z, int64_t y, const T* const* f, T* spare, double*) const override {
    const int64_t n = this->p.width, at = this->offset(volume, z, y);
    T* const to = row_of(out + at, spare);
    if (hybrid) {
      T* const distance = spare + ssim_padded(n);
      this->distance(at, distance);
      dissimilarity_row<true>(f, distance, n, this->constants(volume), to);
    } else {
      ssim_row(f, n, this->constants(volume), to);
    }
    if (to == spare) store_row(spare, n, out + at);
  }
};

// Derivative fields, with the sums (gradient 1) or for an upstream gradient (no sums).
template <class S>
struct FieldWork final : PairWork<S> {
  using typename PairWork<S>::T;
  const S* grad;
  T* fields;
  FieldWork(const Pair<S>& pair, const S* grad_, T* fields_)
      : PairWork<S>(pair), grad(grad_), fields(fields_) {}

  void combine(int64_t volume, int64_t z, int64_t y, const T* const* f, T* spare,
               double* sums) const override {
    const int64_t n = this->p.width, at = this->offset(volume, z, y), padded = ssim_padded(n);
    const Constants<T> c = this->constants(volume);
    if (!grad) {
      this->distance(at, spare);
      sums[0] += sum_row(spare, n);
    }
    if (!fields) {
      dissimilarity_row<false>(f, spare, n, c, spare + padded);
      sums[1] += sum_row(spare + padded, n);
      return;
    }
    T *u = fields + at / n * kFields * padded, *uu = u + padded, *v = uu + padded, *vv = v + padded;
    if (grad) {
      load_row(grad + at, n, spare);
      derivative_rows<true>(f, spare, n, c, u, uu, v, vv, spare + padded);
    } else {
      derivative_rows<false>(f, spare, n, c, u, uu, v, vv, spare + padded);
      sums[1] += sum_row(spare + padded, n);
    }
    for (int i = 0; i < kFields; ++i) std::fill(u + i * padded + n, u + (i + 1) * padded, T(0));
  }
};

// From the filtered fields f = F[derivative by F[u]], ... to the gradients:
//   by u: f0 + 2 u f1     by v: f2 + 2 v f3     x: by u + by v     y: by v - by u
template <class S>
struct GradientWork final : PairWork<S> {
  using typename PairWork<S>::T;
  T scale, l1;
  S *grad_x, *grad_y;
  GradientWork(const Pair<S>& pair, double scale_, double l1_, S* gx, S* gy)
      : PairWork<S>(pair), scale(T(scale_)), l1(T(l1_)), grad_x(gx), grad_y(gy) {}

  void combine(int64_t volume, int64_t z, int64_t y, const T* const* f, T* spare, double*) const override {
    const int64_t n = this->p.width, at = this->offset(volume, z, y);
    T *const gx = grad_x ? row_of(grad_x + at, spare) : spare, *const other = spare + ssim_padded(n);
    T* const gy = grad_y ? row_of(grad_y + at, other) : other;
    gradients(f, this->x + at, this->y + at, this->shifts[volume], gx, gy);
    if (grad_x && gx == spare) store_row(gx, n, grad_x + at);
    if (grad_y && gy == other) store_row(gy, n, grad_y + at);
  }
  void gradients(const T* const* f, const S* x, const S* y, Shift shift, T* __restrict gx,
                 T* __restrict gy) const {
    const T *f0 = f[0], *f1 = f[1], *f2 = f[2], *f3 = f[3];
    const T ssim = scale, plus = l1, minus = -l1, s = T(shift.x), t = T(shift.y);
    const int64_t n = this->p.width;
    for (int64_t i = 0; i < n; ++i) {
      const T a = to_arithmetic(x[i]), b = to_arithmetic(y[i]), d = a - s, e = b - t;
      const T by_u = ssim * (f0[i] + T(2) * (d - e) * f1[i]),
              by_v = ssim * (f2[i] + T(2) * (d + e) * f3[i]);
      const T step = (a > b ? plus : T(0)) + (a < b ? minus : T(0));
      gx[i] = by_v + by_u + step;
      gy[i] = by_v - by_u - step;
    }
  }
};

}  // namespace
}  // namespace DAL_ISA
}  // namespace dal
