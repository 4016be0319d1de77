#include "capi/image.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "capi/failure.h"
#include "capi/structs.h"
#include "chain/linear.h"
#include "chain/voxel.h"
#include "parallel.h"

namespace dal {
namespace {

constexpr int64_t kSmallestSide = 8, kLargestSide = 1024, kMostVoxels = int64_t(1) << 28;
constexpr double kFinestMm = 0.05, kCoarsestMm = 20, kGridTolerance = 0.1, kFarthestMm = 1e6;
constexpr int64_t kLongestStride = int64_t(1) << 48;  // more than any memory has; products stay in range

bool nothing(const double* affine) {
  return std::all_of(affine, affine + 16, [](double value) { return value == 0; });
}

int64_t voxel_bytes(int32_t dtype) {
  switch (dtype) {
    case DAL_U8:
    case DAL_I8:
      return 1;
    case DAL_U16:
    case DAL_I16:
      return 2;
    case DAL_U32:
    case DAL_I32:
    case DAL_F32:
      return 4;
    case DAL_F64:
      return 8;
    default:
      fail(DAL_ARGUMENT, "dtype-unknown", "there is no dtype %d", dtype);
  }
}

void check_shape(const dal_image& image, const char* name) {
  const auto [least, most] = std::minmax_element(image.shape, image.shape + 3);
  const auto* const s = image.shape;
  if (*least < kSmallestSide)
    fail(DAL_INPUT, "too-small",
         "the %s has %lld x %lld x %lld voxels; a brain volume has at least %lld a side", name,
         (long long)s[0], (long long)s[1], (long long)s[2], (long long)kSmallestSide);
  if (*most > kLargestSide || s[0] * s[1] * s[2] > kMostVoxels)
    fail(DAL_INPUT, "size-too-large",
         "the %s has %lld x %lld x %lld voxels; at most %lld a side and %lld in all are read", name,
         (long long)s[0], (long long)s[1], (long long)s[2], (long long)kLargestSide,
         (long long)kMostVoxels);
}

// Row-major RAS.
void set_affine(const dal_image& image, const char* name, double affine[16]) {
  if (image.space != DAL_RAS && image.space != DAL_LPS)
    fail(DAL_ARGUMENT, "value", "there is no space %d", image.space);
  std::copy(image.affine, image.affine + 16, affine);
  for (int i = 0; i < 16; ++i)
    if (!std::isfinite(affine[i]))
      fail(DAL_INPUT, "affine-nonfinite", "the affine of the %s is not finite", name);
  for (int i = 0; image.space == DAL_LPS && i < 8; ++i) affine[i] = -affine[i];
  if (affine[12] != 0 || affine[13] != 0 || affine[14] != 0 || affine[15] != 1)
    fail(DAL_ARGUMENT, "affine-invalid", "the last row of the affine of the %s is not 0 0 0 1", name);
}

void check_affine(const ScanGrid& grid, const char* name) {
  const double* const a = grid.affine;
  double sizes = 1;
  for (int axis = 0; axis < 3; ++axis) {
    const double size = grid.voxel_mm(axis);
    if (!(size >= kFinestMm && size <= kCoarsestMm))
      fail(DAL_INPUT, "voxel-size", "voxels of the %s are %g mm along axis %d; %g to %g are read", name,
           size, axis, kFinestMm, kCoarsestMm);
    sizes *= size;
    if (std::fabs(a[4 * axis + 3]) > kFarthestMm)
      fail(DAL_INPUT, "affine-invalid", "the %s lies a kilometre away", name);
  }
  if (!(1000 * voxel_ml(a) > 1e-3 * sizes))
    fail(DAL_INPUT, "affine-singular", "the affine of the %s cannot be inverted", name);
}

void check_strides(const int64_t stride[3], const char* name) {
  for (int axis = 0; axis < 3; ++axis)
    if (stride[axis] < -kLongestStride || stride[axis] > kLongestStride)
      fail(DAL_ARGUMENT, "value", "stride[%d] of the %s is %lld bytes", axis, name,
           (long long)stride[axis]);
}

struct Scale {
  double slope, intercept;
};

Scale scale_of(const dal_image& image, int64_t k) {
  Scale scale{image.plane_slope ? image.plane_slope[k] : image.slope,
              image.plane_intercept ? image.plane_intercept[k] : image.intercept};
  if (scale.slope == 0) scale.slope = 1;
  return scale;
}

void check_data(const dal_image& image, const char* name) {
  check_reserved(image.reserved, name);
  check_strides(image.stride, name);
  if (!image.data && !image.planes) fail(DAL_ARGUMENT, "value", "the %s has neither data nor planes", name);
  for (int64_t k = 0; k < image.shape[2]; ++k) {
    if (!image.data && !image.planes[k])
      fail(DAL_ARGUMENT, "value", "plane %lld of the %s is NULL", (long long)k, name);
    const Scale scale = scale_of(image, k);
    if (!std::isfinite(scale.slope) || !std::isfinite(scale.intercept))
      fail(DAL_INPUT, "scaling", "slope or intercept of the %s is not finite (plane %lld)", name,
           (long long)k);
  }
}

struct Strides {
  int64_t bytes[3];
};

Strides strides_of(const int64_t given[3], const int64_t shape[3], int64_t element) {
  Strides strides{{given[0], given[1], given[2]}};
  if (given[0] || given[1] || given[2]) return strides;
  return {{element, element * shape[0], element * shape[0] * shape[1]}};
}

// Calls row(values, j, k, load(i)) for all rows of a slice.
template <class T, class F>
void each_row(const dal_image& image, const Strides& strides, int64_t k, F&& row) {
  const char* plane = static_cast<const char*>(image.data);
  plane = plane ? plane + k * strides.bytes[2] : static_cast<const char*>(image.planes[k]);
  for (int64_t j = 0; j < image.shape[1]; ++j) {
    const char* const start = plane + j * strides.bytes[1];
    const auto load_by = [=](auto step) {
      return [=](int64_t i) {
        T value;
        std::memcpy(&value, start + i * step, sizeof value);
        return value;
      };
    };
    if (strides.bytes[0] == sizeof(T))  // known to the compiler
      row(j, load_by(std::integral_constant<int64_t, sizeof(T)>()));
    else
      row(j, load_by(strides.bytes[0]));
  }
}

template <class F>
void with_voxel(int32_t dtype, F&& f) {
  switch (dtype) {
    case DAL_U8:
      return f(uint8_t());
    case DAL_I8:
      return f(int8_t());
    case DAL_U16:
      return f(uint16_t());
    case DAL_I16:
      return f(int16_t());
    case DAL_U32:
      return f(uint32_t());
    case DAL_I32:
      return f(int32_t());
    case DAL_F32:
      return f(float());
    default:
      return f(double());
  }
}

// Rounded as IEEE 754 says, infinite beyond float32, which the language leaves open.
float narrowed(double value) {
  constexpr double kInfinite = 0x1.ffffffp127, kMost = std::numeric_limits<float>::max();
  if (value >= kInfinite) return std::numeric_limits<float>::infinity();
  if (value <= -kInfinite) return -std::numeric_limits<float>::infinity();
  return static_cast<float>(std::min(std::max(value, -kMost), kMost));
}
template <class T>
float narrowed(T stored) {
  return static_cast<float>(stored);
}

// In double precision and rounded once.
template <class T>
float scaled(T stored, const Scale& scale) {
  return narrowed(static_cast<double>(stored) * scale.slope + scale.intercept);
}

// One slice: lowest and highest finite value, and how many voxels are not finite.
template <class T>
void read_slice(const dal_image& image, const Strides& strides, int64_t k, float* out, double* finds) {
  const Scale scale = scale_of(image, k);
  const bool plain = scale.slope == 1 && scale.intercept == 0;
  float low = std::numeric_limits<float>::infinity(), high = -low;
  int64_t bad = 0;
  each_row<T>(image, strides, k, [&](int64_t j, auto load) {
    float* const row = out + j * image.shape[0];
    for (int64_t i = 0; i < image.shape[0]; ++i)
      row[i] = plain ? narrowed(load(i)) : scaled(load(i), scale);
    float row_low = std::numeric_limits<float>::infinity(), row_high = -row_low;
    bool finite = true;
    for (int64_t i = 0; i < image.shape[0]; ++i) {
      finite &= row[i] - row[i] == 0;
      row_low = std::min(row_low, row[i]);
      row_high = std::max(row_high, row[i]);
    }
    if (!finite) {
      row_low = std::numeric_limits<float>::infinity(), row_high = -row_low;
      for (int64_t i = 0; i < image.shape[0]; ++i) {
        if (!std::isfinite(row[i])) row[i] = 0, ++bad;
        row_low = std::min(row_low, row[i]);
        row_high = std::max(row_high, row[i]);
      }
    }
    low = std::min(low, row_low);
    high = std::max(high, row_high);
  });
  finds[0] = low;
  finds[1] = high;
  finds[2] = static_cast<double>(bad);
}

// How far a mask's corners may lie from the scan's.
void check_same_grid(const ScanGrid& grid, const double* affine) {
  double worst = 0, finest = kCoarsestMm;
  for (int axis = 0; axis < 3; ++axis) finest = std::min(finest, grid.voxel_mm(axis));
  for (int corner = 0; corner < 8; ++corner) {
    double apart = 0;
    for (int row = 0; row < 3; ++row) {
      double gap = affine[4 * row + 3] - grid.affine[4 * row + 3];
      for (int axis = 0; axis < 3; ++axis)
        if (corner >> axis & 1)
          gap += (affine[4 * row + axis] - grid.affine[4 * row + axis]) * double(grid.shape[axis] - 1);
      apart += gap * gap;
    }
    worst = std::max(worst, std::sqrt(apart));
  }
  if (!(worst <= kGridTolerance * finest))
    fail(DAL_INPUT, "mask-grid",
         "the mask is not on the grid of the scan: its corners are up to %.2g mm off", worst);
}

}  // namespace

double ScanGrid::voxel_mm(int axis) const { return affine_of(affine).column_norm(axis); }

ScanGrid checked_grid(const dal_image& image, const char* name) {
  ScanGrid grid{};
  voxel_bytes(image.dtype);
  check_shape(image, name);
  check_data(image, name);
  std::copy(image.shape, image.shape + 3, grid.shape);
  set_affine(image, name, grid.affine);
  check_affine(grid, name);
  return grid;
}

int64_t read_scan(const dal_image& image, const ScanGrid& grid, bool replace, float* values, double* finds,
                  int threads) {
  const Strides strides = strides_of(image.stride, image.shape, voxel_bytes(image.dtype));
  const int64_t plane = grid.shape[0] * grid.shape[1];
  parallel_for(grid.shape[2], threads, [&](int64_t k, int) {
    with_voxel(image.dtype, [&](auto voxel) {
      read_slice<decltype(voxel)>(image, strides, k, values + k * plane, finds + k * kFinds);
    });
  });
  double low = finds[0], high = finds[1], bad = finds[2];
  for (int64_t k = 1; k < grid.shape[2]; ++k) {
    low = std::min(low, finds[k * kFinds]);
    high = std::max(high, finds[k * kFinds + 1]);
    bad += finds[k * kFinds + 2];
  }
  const auto count = static_cast<int64_t>(bad);
  if (count == grid.voxels()) fail(DAL_INPUT, "all-nan", "the scan has no finite voxel");
  if (count && !replace)
    fail(DAL_INPUT, "nonfinite",
         "the scan has %lld voxels that are NaN or infinite; set DAL_REPLACE_NONFINITE to read them as 0",
         (long long)count);
  if (low == high)
    fail(DAL_INPUT, low == 0 ? "all-zero" : "constant", "every voxel of the scan is %g", low);
  return count;
}

int64_t read_mask(const dal_image& image, const ScanGrid& grid, uint8_t* inside, double* finds,
                  int threads) {
  if (!std::equal(image.shape, image.shape + 3, grid.shape))
    fail(DAL_INPUT, "mask-grid", "the mask has %lld x %lld x %lld voxels and the scan %lld x %lld x %lld",
         (long long)image.shape[0], (long long)image.shape[1], (long long)image.shape[2],
         (long long)grid.shape[0], (long long)grid.shape[1], (long long)grid.shape[2]);
  const int64_t element = voxel_bytes(image.dtype);
  check_data(image, "mask");
  if (!nothing(image.affine)) {
    double affine[16];
    set_affine(image, "mask", affine);
    check_same_grid(grid, affine);
  }
  const Strides strides = strides_of(image.stride, image.shape, element);
  parallel_for(grid.shape[2], threads, [&](int64_t k, int) {
    const Scale scale = scale_of(image, k);
    int64_t count = 0;
    with_voxel(image.dtype, [&](auto voxel) {
      each_row<decltype(voxel)>(image, strides, k, [&](int64_t j, auto load) {
        uint8_t* const row = inside + (k * grid.shape[1] + j) * grid.shape[0];
        int64_t here = 0;
        for (int64_t i = 0; i < grid.shape[0]; ++i) {
          const float value = scaled(load(i), scale);
          row[i] = value > 0.5f && value <= std::numeric_limits<float>::max();
          here += row[i];
        }
        count += here;
      });
    });
    finds[k] = static_cast<double>(count);
  });
  double count = 0;
  for (int64_t k = 0; k < grid.shape[2]; ++k) count += finds[k];
  if (count == 0) fail(DAL_INPUT, "mask-empty", "no voxel of the mask is above 0.5");
  return static_cast<int64_t>(count);
}

namespace {

int64_t output_bytes(int32_t what) {
  switch (what) {
    case DAL_ANOMALY_MAP:
    case DAL_PSEUDO_HEALTHY:
      return 4;
    case DAL_ANOMALY_MASK:
    case DAL_BRAIN_MASK:
      return 1;
    default:
      fail(DAL_UNSUPPORTED, "value", "there is no output %d", what);
  }
}

// Whether each voxel has memory of its own, in any order of the axes and with any gaps between rows and
// planes.
bool apart(const Strides& strides, const int64_t shape[3], int64_t element) {
  int order[3] = {0, 1, 2};
  std::sort(order, order + 3,
            [&](int a, int b) { return std::abs(strides.bytes[a]) < std::abs(strides.bytes[b]); });
  int64_t covered = element;
  for (const int axis : order) {
    const int64_t stride = std::abs(strides.bytes[axis]);
    if (stride < covered) return false;
    covered += stride * (shape[axis] - 1);
  }
  return true;
}

}  // namespace

void check_output(const dal_output& output, const ScanGrid& grid) {
  const int64_t element = output_bytes(output.what);
  if (!output.data) fail(DAL_ARGUMENT, "value", "the data of output %d are NULL", output.what);
  check_strides(output.stride, "output");
  if (!apart(strides_of(output.stride, grid.shape, element), grid.shape, element))
    fail(DAL_ARGUMENT, "value", "the strides of output %d lay voxels over each other", output.what);
}

void* packed_memory(const dal_output& output, const ScanGrid& grid) {
  const int64_t element = output_bytes(output.what), none[3] = {};
  const Strides given = strides_of(output.stride, grid.shape, element);
  const Strides packed = strides_of(none, grid.shape, element);
  const bool same = std::equal(given.bytes, given.bytes + 3, packed.bytes);
  return same && reinterpret_cast<uintptr_t>(output.data) % uintptr_t(element) == 0 ? output.data : nullptr;
}

void write_output(const dal_output& output, const ScanGrid& grid, const void* values, int threads) {
  const int64_t element = output_bytes(output.what), rows = grid.shape[1], columns = grid.shape[0];
  const Strides strides = strides_of(output.stride, grid.shape, element);
  const char* const from = static_cast<const char*>(values);
  if (from == output.data) return;
  char* const to = static_cast<char*>(output.data);
  parallel_for(grid.shape[2], threads, [&](int64_t k, int) {
    for (int64_t j = 0; j < rows; ++j) {
      const char* const row = from + (k * rows + j) * columns * element;
      char* const start = to + k * strides.bytes[2] + j * strides.bytes[1];
      if (strides.bytes[0] == element) {
        std::memcpy(start, row, static_cast<size_t>(columns * element));
        continue;
      }
      for (int64_t i = 0; i < columns; ++i)
        std::memcpy(start + i * strides.bytes[0], row + i * element, static_cast<size_t>(element));
    }
  });
}

}  // namespace dal
