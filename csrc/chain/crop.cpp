#include "chain/crop.h"

#include <algorithm>

#include "chain/box.h"
#include "parallel.h"

namespace dal {
namespace {

// to(d, h, w) = from(d + first[0], ...), or 0 outside `from`.
template <class T>
void move(const T* from, Shape source, const int64_t first[3], T* to, Shape target, int64_t channels,
          int threads) {
  const int64_t begin = std::clamp<int64_t>(-first[2], 0, target.width);
  const int64_t end = std::clamp<int64_t>(source.width - first[2], begin, target.width);
  parallel_for(channels * target.depth, threads, [&](int64_t plane, int) {
    const int64_t channel = plane / target.depth, d = plane % target.depth + first[0];
    for (int64_t h = 0; h < target.height; ++h) {
      T* const row = to + (plane * target.height + h) * target.width;
      const int64_t at = h + first[1];
      if (d < 0 || d >= source.depth || at < 0 || at >= source.height) {
        std::fill_n(row, target.width, T(0));
        continue;
      }
      const T* const own = from + ((channel * source.depth + d) * source.height + at) * source.width;
      std::fill(row, row + begin, T(0));
      std::copy(own + begin + first[2], own + end + first[2], row + begin);
      std::fill(row + end, row + target.width, T(0));
    }
  });
}

}  // namespace

Crop plan_crop(const uint8_t* mask, Shape s, int64_t margin, int64_t stride) {
  const Box brain = bounding_box(mask, s);
  Crop crop{{0, 0, 0}, {0, 0, 0}};
  if (brain.empty()) return crop;
  int64_t wanted[3];
  for (int axis = 0; axis < 3; ++axis) {
    const int64_t side = brain.side(axis);
    wanted[axis] = ceil_div(side + 2 * margin, stride) * stride;
    crop.first[axis] = brain.first[axis] - (wanted[axis] - side) / 2;
  }
  crop.box = {wanted[0], wanted[1], wanted[2]};
  return crop;
}

void crop(const float* volume, Shape shape, const Crop& c, int64_t channels, float* box, int threads) {
  move(volume, shape, c.first, box, c.box, channels, threads);
}

void crop(const uint8_t* volume, Shape shape, const Crop& c, int64_t channels, uint8_t* box, int threads) {
  move(volume, shape, c.first, box, c.box, channels, threads);
}

void uncrop(const float* box, const Crop& c, Shape shape, int64_t channels, float* volume, int threads) {
  const int64_t back[3] = {-c.first[0], -c.first[1], -c.first[2]};
  move(box, c.box, back, volume, shape, channels, threads);
}

}  // namespace dal
