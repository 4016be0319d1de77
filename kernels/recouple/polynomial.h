// The polynomial of fourth degree: its terms, their values, and its fit by weighted least squares.
#pragma once
#include <algorithm>

#include "recouple/means.h"

namespace dal {
namespace DAL_ISA {
namespace {

constexpr int kPowers = 5;  // 0 to the degree
constexpr int kTerms = 35, kCubic = 20;

// u^i v^j w^k; all of at most third degree first.
struct Term {
  int i, j, k;
  constexpr int degree() const { return i + j + k; }
};
struct Terms {
  Term at[kTerms];
  constexpr Terms() : at{} {
    int n = 0;
    for (int last = 0; last < 2; ++last)
      for (int i = 0; i < kPowers; ++i)
        for (int j = 0; j < kPowers - i; ++j)
          for (int k = 0; k < kPowers - i - j; ++k)
            if ((i + j + k == kPowers - 1) == (last == 1)) at[n++] = {i, j, k};
  }
};
constexpr Terms kTable;

// A coordinate that runs from -1 to 1 across the brain's side, at every voxel, and its powers.
DAL_INLINE void lay_powers(int64_t first, int64_t last, int64_t size, float* powers) {
  const auto length = float(std::max<int64_t>(last - first, 1));
  for (int64_t at = 0; at < size; ++at) {
    const float u = 2.f * float(at - first) / length - 1.f;
    float* const to = powers + kPowers * at;
    to[0] = 1.f;
    for (int i = 1; i < kPowers; ++i) to[i] = to[i - 1] * u;
  }
}

// What is left of the polynomial along a row, whose u and v are known: coefficients of w's powers.
struct RowPolynomial {
  float of[kPowers];
  DAL_INLINE RowPolynomial(const float* c, const float* u, const float* v) : of{} {
    for (int t = 0; t < kTerms; ++t) {
      const Term term = kTable.at[t];
      of[term.k] += c[t] * u[term.i] * v[term.j];
    }
  }
  DAL_INLINE float operator()(const float* w) const {
    float sum = of[0];
    for (int i = 1; i < kPowers; ++i) sum += of[i] * w[i];
    return sum;
  }
};

typedef float wide __attribute__((vector_size(64)));
constexpr int64_t kFitBlock = 256;

// Adds up w b_a b_b and w b_a r of a block of samples into `normal` (kTerms + 1 rows of kTerms).
DAL_INLINE void add_normal(const float* basis, int64_t stride, int terms, const float* weight,
                           const float* ratio, int64_t begin, int64_t n, double* normal) {
  alignas(64) float b[kTerms + 1][kFitBlock], weighted[kFitBlock];
  for (int t = 0; t <= terms; ++t) {
    const float* const from = t < terms ? basis + t * stride + begin : ratio + begin;
    std::copy_n(from, n, b[t]);
    std::fill_n(b[t] + n, kFitBlock - n, 0.f);
  }
  for (int a = 0; a < terms; ++a) {
    for (int64_t i = 0; i < n; ++i) weighted[i] = b[a][i] * weight[begin + i];
    std::fill_n(weighted + n, kFitBlock - n, 0.f);
    const auto* const left = reinterpret_cast<const wide*>(weighted);
    for (int c = a; c <= terms; ++c) {
      const auto* const right = reinterpret_cast<const wide*>(b[c]);
      wide sum{};
      for (int64_t i = 0; i < kFitBlock / 16; ++i) sum += left[i] * right[i];
      double all = 0;
      for (int j = 0; j < 16; ++j) all += double(sum[j]);
      normal[c * kTerms + a] += all;
    }
  }
}

// Solves the lower half of normal (kTerms + 1 rows of kTerms; the last is the right side) by Cholesky; a
// term that nothing determines is 0.
inline void solve(double* normal, int terms, float* solution) {
  const auto at = [&](int row, int column) -> double& { return normal[row * kTerms + column]; };
  for (int c = 0; c < terms; ++c) {
    double pivot = at(c, c);
    for (int k = 0; k < c; ++k) pivot -= at(c, k) * at(c, k);
    const double root = pivot > 0 ? std::sqrt(pivot) : 0, inverse = root > 0 ? 1 / root : 0;
    at(c, c) = root;
    for (int r = c + 1; r <= terms; ++r) {
      double sum = at(r, c);
      for (int k = 0; k < c; ++k) sum -= at(r, k) * at(c, k);
      at(r, c) = sum * inverse;
    }
  }
  double found[kTerms];
  for (int c = terms - 1; c >= 0; --c) {
    double sum = at(terms, c);
    for (int r = c + 1; r < terms; ++r) sum -= at(r, c) * found[r];
    found[c] = at(c, c) > 0 ? sum / at(c, c) : 0;
    solution[c] = float(found[c]);
  }
}

}  // namespace
}  // namespace DAL_ISA
}  // namespace dal
