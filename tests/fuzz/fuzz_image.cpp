// The caller's volumes: an image with any number in any field is read as it should be or refused with a
// Failure, no byte outside its memory is looked at, and an output writes its own voxels alone.
#include <algorithm>
#include <memory>

#include "capi/failure.h"
#include "capi/image.h"
#include "capi/structs.h"
#include "fuzz.h"

namespace {

using namespace fuzz;

int64_t odd_number(Source& s) {
  const int64_t odd[] = {0, 1, -1, 7, 8, 1025, INT64_MAX, INT64_MIN, int64_t(1) << 48, -(int64_t(1) << 33)};
  return odd[s.number(0, 9)];
}

double odd_real(Source& s) {
  constexpr double infinity = std::numeric_limits<double>::infinity(),
                   most = std::numeric_limits<double>::max();
  const double odd[] = {0,    -0.0,  1,    -1e-320,  1e-5,      1e30,
                        1e39, -most, most, infinity, -infinity, infinity - infinity};
  return odd[s.number(0, 11)];
}

// Any number in the place of a member, but none that promises more memory than there is.
void spoil(Source& s, dal_image& image) {
  switch (s.number(0, 11)) {
    case 0:
      image.struct_size = static_cast<uint32_t>(s.number(0, 65535)) << s.number(0, 16);
      return;
    case 1:
      image.dtype = static_cast<int32_t>(odd_number(s));
      if (image.dtype >= DAL_U8 && image.dtype <= DAL_F64) image.dtype = 9;
      return;
    case 2:
      image.shape[s.number(0, 2)] = odd_number(s);
      return;
    case 3:
      image.stride[s.number(0, 2)] =
          s.coin() ? INT64_MIN + s.number(0, 9) : (int64_t(1) << 48) + s.number(1, 9);
      return;
    case 4:
      image.data = nullptr;
      image.planes = nullptr;
      return;
    case 5:
      image.affine[s.number(0, 15)] = odd_real(s);
      return;
    case 6:
      image.space = static_cast<int32_t>(odd_number(s));
      return;
    case 7:
      image.reserved = static_cast<int32_t>(odd_number(s));
      return;
    case 8:
      image.slope = odd_real(s);
      return;
    case 9:
      image.intercept = odd_real(s);
      return;
    default:
      return;
  }
}

int64_t bytes_of(int32_t dtype) {
  return dtype == DAL_F64 ? 8 : dtype <= DAL_I8 ? 1 : dtype <= DAL_I16 ? 2 : 4;
}

// Memory of the exact size for voxels in any order, with or without gaps, along or against the axes.
struct Layout {
  int64_t shape[3], stride[3], first = 0, bytes;
  std::unique_ptr<Buffer> buffer;

  Layout(Source& s, const int64_t sides[3], int64_t element) : bytes(element) {
    std::copy(sides, sides + 3, shape);
    int order[3] = {0, 1, 2};
    std::swap(order[0], order[s.number(0, 2)]);
    std::swap(order[1], order[s.number(1, 2)]);
    for (const int axis : order) {
      stride[axis] = bytes + (s.coin() ? 0 : s.number(0, 9));
      bytes += stride[axis] * (shape[axis] - 1);
    }
    for (int axis = 0; axis < 3; ++axis)
      if (s.number(0, 3) == 0) first += stride[axis] * (shape[axis] - 1), stride[axis] = -stride[axis];
    buffer.reset(new Buffer(bytes, s.number(0, 9)));
  }
  uint8_t* at(int64_t i, int64_t j, int64_t k) const {
    return buffer->as<uint8_t>() + first + i * stride[0] + j * stride[1] + k * stride[2];
  }
};

struct Image {
  dal_image image{};
  uint8_t later[4096] = {};  // what a newer header might have
  Layout layout;
  std::vector<const void*> planes;
  std::vector<double> slopes;

  Image(Source& s, const int64_t shape[3], int32_t dtype) : layout(s, shape, bytes_of(dtype)) {
    image.struct_size = sizeof image;
    image.dtype = dtype;
    std::copy(shape, shape + 3, image.shape);
    std::copy(layout.stride, layout.stride + 3, image.stride);
    image.data = layout.at(0, 0, 0);
    uint8_t* const memory = layout.buffer->as<uint8_t>();
    const bool numbers = s.coin();  // or any bytes at all
    for (int64_t i = 0; !numbers && i < layout.bytes; ++i)
      memory[i] = static_cast<uint8_t>(256 * s.random());
    if (numbers) std::memset(memory, s.coin(), static_cast<size_t>(layout.bytes));
    if (s.number(0, 3) == 0) {
      for (int64_t k = 0; k < shape[2]; ++k) planes.push_back(layout.at(0, 0, k));
      if (s.number(0, 7) == 0) planes[static_cast<size_t>(s.number(0, shape[2] - 1))] = nullptr;
      image.data = nullptr;
      image.planes = planes.data();
    }
    for (int64_t k = 0; k < shape[2]; ++k) slopes.push_back(s.number(0, 3) ? s.share() : odd_real(s));
    if (s.number(0, 3) == 0) image.plane_slope = slopes.data();
    if (s.number(0, 3) == 0) image.plane_intercept = slopes.data();
    image.slope = s.coin() ? 0 : s.share() * 4 - 2;
    const int turn = static_cast<int>(s.number(0, 2));
    for (int axis = 0; axis < 3; ++axis) image.affine[4 * axis + (axis + turn) % 3] = s.coin() ? 1 : -2.5;
    image.affine[15] = 1;
  }
};

void refused(const dal::Failure& failure) {
  if (!failure.code[0] || !failure.message[0] || !failure.status) fail("a failure without words");
}

// The scan's values, or nothing where it is refused.
std::vector<float> read(const dal_image& given, bool replace, int threads) {
  try {
    const dal_image image = dal::taken(&given, "the scan");
    const dal::ScanGrid grid = dal::checked_grid(image, "scan");
    Buffer values(4 * grid.voxels()), finds(8 * dal::kFinds * grid.shape[2]);
    dal::read_scan(image, grid, replace, values.as<float>(), finds.as<double>(), threads);
    const float* const begin = values.as<float>();
    for (int64_t i = 0; i < grid.voxels(); ++i)
      if (!std::isfinite(begin[i])) fail("a voxel that is not finite was taken");
    return {begin, begin + grid.voxels()};
  } catch (const dal::Failure& failure) {
    refused(failure);
    return {};
  }
}

void read_mask(const dal_image& given, const dal_image& of, int threads) {
  try {
    const dal_image image = dal::taken(&given, "the mask");
    const dal::ScanGrid grid = dal::checked_grid(dal::taken(&of, "the scan"), "scan");
    Buffer inside(grid.voxels()), finds(8 * dal::kFinds * grid.shape[2]);
    const int64_t count = dal::read_mask(image, grid, inside.as<uint8_t>(), finds.as<double>(), threads);
    int64_t sum = 0;
    for (int64_t i = 0; i < grid.voxels(); ++i) sum += inside.as<uint8_t>()[i];
    if (sum != count || count < 1) fail("a mask is not of zeros and ones");
  } catch (const dal::Failure& failure) {
    refused(failure);
  }
}

void write(Source& s, const int64_t shape[3], int threads) {
  const auto what = static_cast<int32_t>(s.number(DAL_ANOMALY_MAP, DAL_PSEUDO_HEALTHY));
  const bool real = what == DAL_ANOMALY_MAP || what == DAL_PSEUDO_HEALTHY;
  const size_t element = real ? 4 : 1;
  const Layout layout(s, shape, static_cast<int64_t>(element));
  dal::ScanGrid grid{{shape[0], shape[1], shape[2]}, {}};
  Buffer values(grid.voxels() * static_cast<int64_t>(element));
  uint8_t* const from = values.as<uint8_t>();
  for (int64_t i = 0; i < grid.voxels(); ++i) std::memset(from + size_t(i) * element, int(i % 90), element);
  dal_output output{sizeof output, what, {}, s.number(0, 15) ? layout.at(0, 0, 0) : nullptr};
  std::copy(layout.stride, layout.stride + 3, output.stride);
  const bool spoilt = s.number(0, 7) == 0;
  if (spoilt) output.stride[s.number(0, 2)] = s.coin() ? s.number(-3, 3) : INT64_MAX - s.number(0, 9);
  if (s.number(0, 15) == 0) output.what = static_cast<int32_t>(odd_number(s));
  try {
    dal::check_output(output, grid);
  } catch (const dal::Failure& failure) {
    return refused(failure);
  }
  if (spoilt) return;  // it may be right, but its memory is another's
  dal::write_output(output, grid, values.as<void>(), threads);
  int64_t others = 0;
  const Bytes all = layout.buffer->bytes();
  for (const uint8_t byte : all) others += byte == 0xA5;
  if (others != layout.bytes - grid.voxels() * static_cast<int64_t>(element))
    fail("bytes between voxels were written");
  for (int64_t k = 0; k < shape[2]; ++k)
    for (int64_t j = 0; j < shape[1]; ++j)
      for (int64_t i = 0; i < shape[0]; ++i)
        if (*layout.at(i, j, k) != from[size_t(i + shape[0] * (j + shape[1] * k)) * element])
          fail("a voxel was written to another's place");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Source s(data, size);
  int64_t shape[3];
  for (int64_t& side : shape) side = s.number(8, 13);
  Image scan(s, shape, static_cast<int32_t>(s.number(DAL_U8, DAL_F64)));
  for (int64_t left = s.number(0, 2); left > 0; --left) spoil(s, scan.image);
  if (s.number(0, 15) == 0) scan.later[s.number(0, 99)] = 1;
  const bool replace = s.coin();
  const std::vector<float> values = read(scan.image, replace, 1);
  if (read(scan.image, replace, 3) != values) fail("another number of threads gives other bits");
  Image mask(s, shape, static_cast<int32_t>(s.number(DAL_U8, DAL_F64)));
  std::copy(scan.image.affine, scan.image.affine + 16, mask.image.affine);
  for (int64_t left = s.number(0, 2); left > 0; --left) spoil(s, mask.image);
  read_mask(mask.image, scan.image, static_cast<int>(s.number(1, 3)));
  write(s, shape, static_cast<int>(s.number(1, 3)));
  return 0;
}
