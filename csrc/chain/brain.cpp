#include "chain/brain.h"

#include <algorithm>
#include <cmath>

#include "chain/brainshape.h"
#include "chain/chunks.h"
#include "checkpoint.h"
#include "components3d/components3d.h"

namespace dal {
namespace {

// Where a measure of a mask counts as confidence 0, and from where on as 1.
struct Ramp {
  double low, high;
  double operator()(double value) const {
    return std::min(1.0, std::max(0.0, (value - low) / (high - low)));
  }
};
constexpr Ramp kAgreement{0.8, 0.98}, kSharpness{0.0, 0.65}, kSphericity{0.4, 0.75};
constexpr int64_t kLeastSharp =
    10;  // one border voxel in so many is less sharp than "the border's sharpness"

Shape padded(Shape s) { return {s.depth + 2, s.height + 2, s.width + 2}; }
Components3dShape faces_joined(Shape s) { return {1, s.depth, s.height, s.width, 6}; }

struct Scratch {
  float* mean;
  uint8_t* mask;  // of the padded volume
  int32_t *labels, *sizes;
  float* lengths;
  char *components, *outline;
  int64_t bytes;

  Scratch(void* workspace, Shape shape, int threads) {
    const Shape wide = padded(shape);
    Parts parts(workspace);
    mean = parts.take<float>(shape.voxels());
    mask = parts.take<uint8_t>(wide.voxels());
    labels = parts.take<int32_t>(wide.voxels());
    sizes = parts.take<int32_t>(shape.voxels() / 2 + 2);
    lengths = parts.take<float>(shape.voxels());
    outline = parts.take<char>(brain_shape_workspace(shape));
    components = parts.take<char>(DAL_DISPATCH(components3d_workspace, faces_joined(wide), threads));
    bytes = parts.used();
  }
};

double dice(const float* a, const float* b, int64_t voxels) {
  int64_t both = 0, of_a = 0, of_b = 0;
  for (int64_t i = 0; i < voxels; ++i) {
    const int64_t in_a = a[i] > 0, in_b = b[i] > 0;
    both += in_a & in_b;
    of_a += in_a;
    of_b += in_b;
  }
  return 2.0 * double(both) / double(std::max<int64_t>(1, of_a + of_b));
}

// The label of the largest component, the first of several; 0 without any.
int32_t largest_of(const int32_t* labels, int64_t voxels, int32_t* sizes) {
  int32_t most = 0;
  for (int64_t i = 0; i < voxels; ++i) most = std::max(most, labels[i]);
  std::fill_n(sizes, most + 1, 0);
  for (int64_t i = 0; i < voxels; ++i) ++sizes[labels[i]];
  if (most == 0) return 0;
  return int32_t(std::max_element(sizes + 1, sizes + most + 1) - sizes);
}

// clean = mean with the sign of its largest component, holes filled; false without any.
bool fill(const float* mean, float* clean, Shape s, const Scratch& scratch, int threads) {
  const int64_t voxels = s.voxels();
  for (int64_t i = 0; i < voxels; ++i) scratch.mask[i] = mean[i] > 0;
  DAL_DISPATCH(components3d, scratch.mask, scratch.labels, scratch.components, faces_joined(s), threads);
  checkpoint();
  const int32_t largest = largest_of(scratch.labels, voxels, scratch.sizes);
  if (largest == 0) return false;
  const Shape wide = padded(s);
  std::fill_n(scratch.mask, wide.voxels(), uint8_t(1));
  const auto place = [&](int64_t d, int64_t h) { return ((d + 1) * wide.height + h + 1) * wide.width + 1; };
  for (int64_t d = 0; d < s.depth; ++d)
    for (int64_t h = 0; h < s.height; ++h)
      for (int64_t w = 0; w < s.width; ++w)
        scratch.mask[place(d, h) + w] = scratch.labels[(d * s.height + h) * s.width + w] != largest;
  DAL_DISPATCH(components3d, scratch.mask, scratch.labels, scratch.components, faces_joined(wide), threads);
  checkpoint();
  const int32_t outside = scratch.labels[0];
  for (int64_t d = 0; d < s.depth; ++d)
    for (int64_t h = 0; h < s.height; ++h)
      for (int64_t w = 0; w < s.width; ++w) {
        const int64_t i = (d * s.height + h) * s.width + w;
        const float size = std::abs(mean[i]);
        clean[i] = scratch.labels[place(d, h) + w] != outside ? size : -size;
      }
  return true;
}

// Lower decile of the gradient's length at the border, without the volume's own edge.
double slope(const float* field, const float* clean, double voxel_mm, Shape s, float* lengths) {
  const auto near = float(voxel_mm), apart = float(2 * voxel_mm);
  const int64_t steps[3] = {s.height * s.width, s.width, 1};
  int64_t count = 0;
  for (int64_t d = 1; d < s.depth - 1; ++d)
    for (int64_t h = 1; h < s.height - 1; ++h)
      for (int64_t w = 1; w < s.width - 1; ++w) {
        const int64_t i = (d * s.height + h) * s.width + w;
        if (!(std::abs(clean[i]) < near)) continue;
        float sum = 0;
        for (const int64_t step : steps) {
          const float rise = (field[i + step] - field[i - step]) / apart;
          sum += rise * rise;
        }
        lengths[count++] = std::sqrt(sum);
      }
  if (count == 0) return 0;
  float* const decile = lengths + (count - 1) / kLeastSharp;
  std::nth_element(lengths, decile, lengths + count);
  return double(*decile);
}

bool reaches_a_face(const float* clean, const float* faces, double voxel_mm, int64_t voxels) {
  for (int64_t i = 0; i < voxels; ++i)
    if (clean[i] > 0 && faces[i] < float(voxel_mm)) return true;
  return false;
}

}  // namespace

int64_t brain_distance_workspace(Shape shape, int threads) {
  return Scratch(nullptr, shape, threads).bytes;
}

BrainFound brain_distance(float* first, float* mirrored, const float* faces, double voxel_mm, float* clean,
                          Shape s, void* workspace, int threads) {
  const Scratch scratch(workspace, s, threads);
  const int64_t voxels = s.voxels();
  each(voxels, threads, [&](int64_t i) {
    if (faces) {
      const float most = faces[i] + float(voxel_mm);
      first[i] = std::min(first[i], most);
      mirrored[i] = std::min(mirrored[i], most);
    }
    scratch.mean[i] = (first[i] + mirrored[i]) / 2.f;
  });
  BrainFound found{};
  found.any = fill(scratch.mean, clean, s, scratch, threads);
  if (!found.any) return found;
  checkpoint();
  found.agreement = dice(first, mirrored, voxels);
  found.sharpness = slope(scratch.mean, clean, voxel_mm, s, scratch.lengths);
  for (int64_t i = 0; i < voxels; ++i) scratch.mask[i] = clean[i] > 0;
  found.sphericity = sphericity(scratch.mask, voxel_mm, s);
  checkpoint();
  found.confidence = std::min(kAgreement(found.agreement),
                              std::min(kSharpness(found.sharpness), kSphericity(found.sphericity)));
  found.unusual = unusual_shape(scratch.mask, s, scratch.outline, found.symmetry);
  found.cut = faces && reaches_a_face(clean, faces, voxel_mm, voxels);
  return found;
}

void lift_distance(float* distance, int64_t voxels) {
  for (int64_t i = 0; i < voxels; ++i) distance[i] += kOutsideMm;
}

int64_t brain_mask(const float* lifted, uint8_t* mask, int64_t voxels, int threads) {
  each(voxels, threads, [&](int64_t i) { mask[i] = lifted[i] - kOutsideMm > 0; });
  int64_t count = 0;
  for (int64_t i = 0; i < voxels; ++i) count += mask[i];
  return count;
}

BrainVerdict judge_brain(const BrainFound& found, double ml, const BrainLimits& limits) {
  if (!found.any) return BrainVerdict::none;
  if (!(limits.smallest_ml <= ml && ml <= limits.largest_ml)) return BrainVerdict::volume;
  if (found.confidence < (found.unusual ? limits.unlikely : limits.hopeless)) return BrainVerdict::unclear;
  if (found.sphericity > (found.unusual ? limits.round : limits.roundest) && !found.cut)
    return BrainVerdict::round;
  return BrainVerdict::taken;
}

}  // namespace dal
