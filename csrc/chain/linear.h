// Affine maps of three dimensions.
#pragma once
#include <cmath>

namespace dal {

// y = of[.][0..2] x + of[.][3]
struct Affine {
  double of[3][4];

  double along(int row, double x, double y, double z) const {
    return of[row][0] * x + of[row][1] * y + of[row][2] * z + of[row][3];
  }
  double column_norm(int column) const {
    return std::sqrt(of[0][column] * of[0][column] + of[1][column] * of[1][column] +
                     of[2][column] * of[2][column]);
  }
};

// Four by four, row by row, with the columns of its axes in another order.
inline Affine affine_of(const double* matrix, const int (&order)[3] = {0, 1, 2}) {
  Affine a{};
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 3; ++column) a.of[row][column] = matrix[4 * row + order[column]];
    a.of[row][3] = matrix[4 * row + 3];
  }
  return a;
}

// a^-1 b by Gaussian elimination with pivots; false where a has none.
inline bool solved(Affine a, Affine b, Affine* out) {
  for (int row = 0; row < 3; ++row) b.of[row][3] -= a.of[row][3];
  for (int c = 0; c < 3; ++c) {
    int pivot = c;
    for (int row = c + 1; row < 3; ++row)
      if (std::abs(a.of[row][c]) > std::abs(a.of[pivot][c])) pivot = row;
    if (!(std::abs(a.of[pivot][c]) > 0)) return false;
    for (int k = 0; k < 4; ++k) {
      const double left = a.of[c][k], right = b.of[c][k];
      a.of[c][k] = a.of[pivot][k], a.of[pivot][k] = left;
      b.of[c][k] = b.of[pivot][k], b.of[pivot][k] = right;
    }
    for (int row = c + 1; row < 3; ++row) {
      const double factor = a.of[row][c] / a.of[c][c];
      for (int k = c; k < 3; ++k) a.of[row][k] -= factor * a.of[c][k];
      for (int k = 0; k < 4; ++k) b.of[row][k] -= factor * b.of[c][k];
    }
  }
  for (int k = 0; k < 4; ++k)
    for (int row = 2; row >= 0; --row) {
      double sum = b.of[row][k];
      for (int c = row + 1; c < 3; ++c) sum -= a.of[row][c] * out->of[c][k];
      out->of[row][k] = sum / a.of[row][row];
    }
  return true;
}

}  // namespace dal
