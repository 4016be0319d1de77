// The atlas goes into the bounding box by the kernel `separable`, with the two taps an axis of a linear
// interpolation; every second voxel along each axis is collected for the fit; one pass then writes what the
// network sees. Probabilities are made from the network's answer in blocks that stay in the cache.
#include <algorithm>
#include <utility>

#include "chain/border.h"
#include "chain/box.h"
#include "elementary.h"
#include "parallel.h"
#include "separable/separable.h"
#include "tissue/fit.h"
#include "tissue/tissue.h"

namespace dal {
namespace DAL_ISA {
namespace {

// Taps of the atlas along each axis, and what separable3d needs.
struct LayScratch {
  int32_t* index[3];
  float* weight[3];
  void* separable;
};

struct Scratch {
  LayScratch lay;
  TissueSamples samples;
  FitScratch fit;
};

int64_t sides_of(Shape s, int axis) { return axis == 0 ? s.depth : axis == 1 ? s.height : s.width; }

// Where the samples of an axis lie in the atlas: torch's `interpolate` without aligned corners.
void lay_taps(int64_t from, int64_t to, int32_t* index, float* weight) {
  const float scale = float(from) / float(to);
  for (int64_t i = 0; i < to; ++i) {
    const float at = std::max(scale * (float(i) + 0.5f) - 0.5f, 0.f);
    const auto low = std::min(int64_t(at), from - 1);
    const float share = std::min(std::max(at - float(low), 0.f), 1.f);
    index[i] = int32_t(low), index[to + i] = int32_t(std::min(low + 1, from - 1));
    weight[i] = 1.f - share, weight[to + i] = share;
  }
}

LayScratch lay_scratch_of(Parts& parts, Atlas atlas, Shape shape, int threads) {
  LayScratch s{};
  for (int a = 0; a < 3; ++a) {
    s.index[a] = parts.take<int32_t>(2 * sides_of(shape, a));
    s.weight[a] = parts.take<float>(2 * sides_of(shape, a));
  }
  // a thread of separable3d keeps a plane of the source and two rows, as both lie alike in memory
  s.separable = parts.take<float>(int64_t(threads) * (atlas.sides.height + 2) * atlas.sides.width);
  return s;
}

Scratch scratch_of(Parts& parts, Atlas atlas, Shape shape, int64_t step, int threads) {
  Scratch s{};
  s.lay = lay_scratch_of(parts, atlas, shape, threads);
  const int64_t most =
      ceil_div(shape.depth, step) * ceil_div(shape.height, step) * ceil_div(shape.width, step);
  s.samples = {parts.take<float>(most), parts.take<float>(atlas.tissues * most), 0, most, atlas.tissues};
  s.fit = {parts.take<uint64_t>(most), parts.take<uint64_t>(most),
           parts.take<double>(ceil_div(most, kTask) * atlas.tissues * 3)};
  return s;
}

// The atlas in the bounding box of the mask; what lies outside the box is not written.
void lay(Atlas atlas, const uint8_t* mask, Shape shape, const LayScratch& s, float* out, int threads) {
  const Box box = bounding_box(mask, shape);
  if (box.empty()) return;
  const int64_t strides[3] = {atlas.sides.height * atlas.sides.width, atlas.sides.width, 1};
  Separable plan{};
  for (int a = 0; a < 3; ++a) {
    lay_taps(sides_of(atlas.sides, a), box.side(a), s.index[a], s.weight[a]);
    plan.axes[a] = {s.index[a], s.weight[a], 2, box.side(a), sides_of(atlas.sides, a), strides[a]};
  }
  plan.stride_d = shape.height * shape.width, plan.stride_h = shape.width;
  const int64_t corner = (box.first[0] * shape.height + box.first[1]) * shape.width + box.first[2];
  for (int64_t k = 0; k < atlas.tissues; ++k)
    separable3d(atlas.values + k * atlas.sides.voxels(), Voxel::f32, plan,
                out + k * shape.voxels() + corner, s.separable, threads);
}

// Every step-th voxel along each axis with signal inside the mask, and the priors there; those alone that
// the mask surrounds, if `deep`.
void take_samples(const float* x, const uint8_t* mask, const float* prior, Shape s, int64_t step, bool deep,
                  TissueSamples& samples) {
  int64_t n = 0;
  for (int64_t d = 0; d < s.depth; d += step)
    for (int64_t h = 0; h < s.height; h += step) {
      const int64_t row = (d * s.height + h) * s.width;
      for (int64_t w = 0; w < s.width; w += step) {
        const int64_t i = row + w;
        if (!(mask[i] && x[i] > 0 && (!deep || surrounded(mask, s, d, h, w)))) continue;
        samples.values[n] = x[i];
        for (int64_t k = 0; k < samples.tissues; ++k)
          samples.prior[k * samples.stride + n] = prior[k * s.voxels() + i];
        ++n;
      }
    }
  samples.count = n;
}

// The scan, likelihoods, and priors of `n` voxels; priors are there already where the mask is.
void write_evidence(const float* x, const uint8_t* mask, int64_t tissues, int64_t voxels,
                    const float* means, const float* spreads, int64_t begin, int64_t n, float* out) {
  std::copy_n(x + begin, n, out + begin);
  for (int64_t k = 0; k < tissues; ++k) {
    float* const likelihood = out + (1 + k) * voxels + begin;
    float* const prior = out + (1 + tissues + k) * voxels + begin;
    const float mean = means[k], spread = spreads[k];
    for (int64_t i = 0; i < n; ++i) {
      const float z = (x[begin + i] - mean) / spread, likely = exp_of(-0.5f * (z * z));
      likelihood[i] = mask[begin + i] ? likely : 0.f;
      prior[i] = mask[begin + i] ? prior[i] : 0.f;
    }
  }
}

// Arrays of a block of voxels.
struct Block {
  float logit[kMostTissues][kBlock];
  float prior[kBlock];  // of fluid
};

void combine(const float* evidence, const float* output, int64_t tissues, int64_t voxels, int64_t begin,
             int64_t n, const CombineSettings& settings, Block& block) {
  float trust[kBlock] = {};
  const float* const last = output + tissues * voxels + begin;
  for (int64_t i = 0; i < n; ++i) trust[i] = 1.f / (1.f + exp_of(-(last[i] + settings.first_trust)));
  for (int64_t k = 0; k < tissues; ++k) {
    const float* const likelihood = evidence + (1 + k) * voxels + begin;
    const float* const prior = evidence + (1 + tissues + k) * voxels + begin;
    const float* const correction = output + k * voxels + begin;
    for (int64_t i = 0; i < n; ++i)
      block.logit[k][i] = trust[i] * log_of(likelihood[i] * prior[i] + settings.faint) + correction[i];
  }
  std::copy_n(evidence + (1 + tissues) * voxels + begin, n, block.prior);
}

void softmax(const uint8_t* mask, int64_t tissues, int64_t voxels, int64_t begin, int64_t n,
             const Block& block, float* p) {
  float most[kBlock], total[kBlock] = {};
  std::copy_n(block.logit[0], n, most);
  for (int64_t k = 1; k < tissues; ++k)
    for (int64_t i = 0; i < n; ++i) most[i] = block.logit[k][i] > most[i] ? block.logit[k][i] : most[i];
  for (int64_t k = 0; k < tissues; ++k) {
    float* const to = p + k * voxels + begin;
    for (int64_t i = 0; i < n; ++i) {
      to[i] = exp_of(block.logit[k][i] - most[i]);
      total[i] += to[i];
    }
  }
  for (int64_t k = 0; k < tissues; ++k) {
    float* const to = p + k * voxels + begin;
    for (int64_t i = 0; i < n; ++i) to[i] = mask[begin + i] ? to[i] / total[i] : 0.f;
  }
}

}  // namespace

int64_t lay_atlas_workspace(Atlas atlas, Shape shape, int threads) {
  Parts parts(nullptr);
  lay_scratch_of(parts, atlas, shape, threads);
  return parts.used();
}

void lay_atlas(Atlas atlas, const uint8_t* mask, Shape shape, float* out, void* workspace, int threads) {
  Parts parts(workspace);
  lay(atlas, mask, shape, lay_scratch_of(parts, atlas, shape, threads), out, threads);
  const int64_t voxels = shape.voxels();
  parallel_for(ceil_div(voxels, kTask), threads, [&](int64_t task, int) {
    for (int64_t k = 0; k < atlas.tissues; ++k)
      for (int64_t i = task * kTask; i < std::min((task + 1) * kTask, voxels); ++i)
        out[k * voxels + i] = mask[i] ? out[k * voxels + i] : 0.f;
  });
}

int64_t tissue_evidence_workspace(Atlas atlas, Shape shape, int64_t step, int threads) {
  Parts parts(nullptr);
  scratch_of(parts, atlas, shape, step, threads);
  return parts.used();
}

void tissue_evidence(const float* x, const uint8_t* mask, Atlas atlas, Shape shape,
                     const EvidenceSettings& settings, float* out, float* means, float* spreads,
                     void* workspace, int threads) {
  Parts parts(workspace);
  Scratch s = scratch_of(parts, atlas, shape, settings.step, threads);
  const int64_t voxels = shape.voxels();
  float* const prior = out + (1 + atlas.tissues) * voxels;
  lay(atlas, mask, shape, s.lay, prior, threads);
  take_samples(x, mask, prior, shape, settings.step, true, s.samples);
  if (s.samples.count == 0) take_samples(x, mask, prior, shape, settings.step, false, s.samples);
  fit_tissues(s.samples, settings, s.fit, means, spreads, threads);
  parallel_for(ceil_div(voxels, kTask), threads, [&](int64_t task, int) {
    write_evidence(x, mask, atlas.tissues, voxels, means, spreads, task * kTask,
                   std::min(kTask, voxels - task * kTask), out);
  });
}

void tissue_probabilities(const float* evidence, const float* output, const uint8_t* mask, int64_t tissues,
                          int64_t voxels, const CombineSettings& settings, float* logits, float* p,
                          float* fluid, int threads) {
  parallel_for(ceil_div(voxels, kTask), threads, [&](int64_t task, int) {
    Block block;
    const int64_t end = std::min((task + 1) * kTask, voxels);
    for (int64_t begin = task * kTask; begin < end; begin += kBlock) {
      const int64_t n = std::min(kBlock, end - begin);
      std::fill_n(block.prior, kBlock, 0.f);
      if (evidence)
        combine(evidence, output, tissues, voxels, begin, n, settings, block);
      else
        for (int64_t k = 0; k < tissues; ++k) std::copy_n(output + k * voxels + begin, n, block.logit[k]);
      if (logits)
        for (int64_t k = 0; k < tissues; ++k) std::copy_n(block.logit[k], n, logits + k * voxels + begin);
      if (p) softmax(mask, tissues, voxels, begin, n, block, p);
      if (fluid)
        for (int64_t i = 0; i < n; ++i)
          fluid[begin + i] = 1.f - (1.f - p[begin + i]) * (1.f - block.prior[i]);
    }
  });
}

}  // namespace DAL_ISA
}  // namespace dal
