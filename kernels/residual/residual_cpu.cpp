// Plain loops over stretches of voxels, which the compiler vectorises. Nothing is contracted: the bits are
// the same on every instruction set.
#include <algorithm>

#include "elementary.h"
#include "parallel.h"
#include "residual/residual.h"
#include "simd.h"

namespace dal {
namespace DAL_ISA {
namespace {

constexpr int64_t kStretch = 1 << 14;  // voxels of a task

template <class F>
void in_stretches(int64_t voxels, int threads, F&& f) {
  parallel_for(ceil_div(voxels, kStretch), threads,
               [&](int64_t task, int) { f(task * kStretch, std::min(voxels, (task + 1) * kStretch)); });
}

DAL_INLINE float positive(float v) { return v > 0.f ? v : 0.f; }
DAL_INLINE float confined(float v, float most) { return v < 0.f ? 0.f : v > most ? most : v; }

// A row of the channels that a voxel has by itself; `out` is channel 0 of the row, the others lie `apart`.
DAL_INLINE void own_channels(const Compared& c, const float* __restrict grey, const float* __restrict white,
                             const float* __restrict dissimilarity, int64_t at, int64_t n,
                             float* __restrict out, int64_t apart) {
  const float* __restrict x = c.x + at, * __restrict phi = c.phi + at, * __restrict fluid = c.fluid + at;
  const float* __restrict high = c.highest + at, * __restrict low = c.lowest + at;
  const float* __restrict spread = c.spread + at;
  const uint8_t* __restrict mask = c.mask + at;
  for (int64_t i = 0; i < n; ++i) {
    const float inside = mask[i] ? 1.f : 0.f, unit = 4.f * spread[i];
    out[i] = (2.f * x[i] - 1.f) * inside;
    out[i + apart] = 2.f * (x[i] - phi[i]) * inside;
    out[i + 2 * apart] = confined((x[i] - high[i]) / unit, kMostSpreads / 4) * inside;
    out[i + 3 * apart] = confined((-low[i] - x[i]) / unit, kMostSpreads / 4) * inside;
  }
  for (int64_t i = 0; i < n; ++i) {
    const float inside = mask[i] ? 1.f : 0.f;
    out[i + 4 * apart] = fluid[i] * inside;
    out[i + 5 * apart] = grey[i] * inside;
    out[i + 6 * apart] = white[i] * inside;
    out[i + 9 * apart] = dissimilarity[i] * inside;
    out[i + 10 * apart] = inside;
  }
}

// Residual and level of voxels `from`, where the mask is at `at`; `out` is the residual's row.
DAL_INLINE void other_channels(const Compared& c, int64_t from, int64_t at, int64_t n,
                               float* __restrict out, int64_t apart) {
  const float* __restrict x = c.x + from, * __restrict phi = c.phi + from;
  const uint8_t* __restrict mask = c.mask + at;
  for (int64_t i = 0; i < n; ++i) {
    const float inside = mask[i] ? 1.f : 0.f;
    out[i] = 2.f * (x[i] - phi[i]) * inside;
    out[i + apart] = (2.f * x[i] - 1.f) * inside;
  }
}

template <bool kSmooth, bool kEvidence>
void heights(float* __restrict r, const float* __restrict smooth, const float* __restrict structure,
             float least, const float* __restrict evidence, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    float v = r[i];
    if (kSmooth) {
      const float root = kLeastRoot * smooth[i];
      v = std::sqrt(v * smooth[i] + root * root) - root;
    }
    v *= least + structure[i];
    r[i] = kEvidence ? v * std::sqrt(evidence[i]) : v;
  }
}

}  // namespace

void residual_channels(const Compared& scan, const float* grey, const float* white,
                       const float* dissimilarity, int64_t first, int64_t end, float* out, Shape s,
                       int threads) {
  const int64_t plane = s.height * s.width, apart = s.voxels();
  parallel_for(s.depth, threads, [&](int64_t d, int) {
    const int64_t at = d * plane;
    own_channels(scan, grey + at, white + at, dissimilarity + at, at, plane, out + at, apart);
    float* const other = out + 7 * apart + at;
    if (d < first || d >= end) {
      std::fill_n(other, plane, 0.f);
      std::fill_n(other + apart, plane, 0.f);
    } else {
      other_channels(scan, (first + end - 1 - d) * plane, at, plane, other, apart);
    }
  });
}

void masked_sigmoid(const float* logit, const uint8_t* mask, float* out, int64_t voxels, int threads) {
  in_stretches(voxels, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float p = 1.f / (1.f + exp_of(-logit[i]));
      out[i] = mask[i] ? p : 0.f;
    }
  });
}

void gate_dissimilarity(float* total, int windows, const float* fluid, const uint8_t* mask, int64_t voxels,
                        int threads) {
  in_stretches(voxels, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float gated = total[i] / float(windows) * (1.f - fluid[i]);
      total[i] = mask[i] ? gated : 0.f;
    }
  });
}

void keep_inside(float* x, const uint8_t* mask, int64_t voxels, int threads) {
  in_stretches(voxels, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) x[i] = mask[i] ? x[i] : 0.f;
  });
}

void signed_residual(const Compared& c, float sign, const float* usual, float usual_least, float* out,
                     int64_t voxels, int threads) {
  const float* const limit = sign > 0 ? c.highest : c.lowest;
  in_stretches(voxels, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float flat = positive(sign * (c.x[i] - c.phi[i])),
                  tolerant = positive(sign * c.x[i] - limit[i]);
      const float r = (flat + tolerant) * (1.f - c.fluid[i]) / (2.f * c.spread[i]);
      out[i] = c.mask[i] ? r : 0.f;
    }
    if (usual)
      for (int64_t i = begin; i < end; ++i) out[i] /= usual_least + usual[i];
  });
}

void cluster_heights(float* r, const float* smooth, const float* structure, float least,
                     const float* evidence, int64_t voxels, int threads) {
  const auto run = smooth ? (evidence ? heights<true, true> : heights<true, false>)
                          : (evidence ? heights<false, true> : heights<false, false>);
  in_stretches(voxels, threads, [&](int64_t begin, int64_t end) {
    run(r + begin, smooth ? smooth + begin : nullptr, structure + begin, least,
        evidence ? evidence + begin : nullptr, end - begin);
  });
}

void structural_excess(float* structure, const float* usual, float level, int64_t voxels, int threads) {
  in_stretches(voxels, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) structure[i] = positive(structure[i] - usual[i] / level);
  });
}

void cluster_scores(float* e, float level, int64_t voxels, int threads) {
  in_stretches(voxels, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) e[i] = std::sqrt(e[i]) / level;
  });
}

void in_units(float* x, float level, int64_t voxels, int threads) {
  in_stretches(voxels, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) x[i] /= level;
  });
}

void combine_signs(const float* a, const float* b, const float* structure, SignWeights w, float* out,
                   int64_t voxels, int threads) {
  in_stretches(voxels, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float one = (a[i] + w.share * structure[i]) * w.a,
                  other = (b[i] + w.share * structure[i]) * w.b;
      out[i] = other > one ? other : one;
    }
  });
}

void with_surroundings(const float* map, const float* near, const float* wide, float level,
                       const uint8_t* mask, float* out, int64_t voxels, int threads) {
  in_stretches(voxels, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float most = near[i] > map[i] ? near[i] : map[i];
      out[i] = mask[i] ? (wide[i] > most ? wide[i] : most) / level : 0.f;
    }
  });
}

void tissue_labels(const float* p, const uint8_t* mask, uint8_t* out, int64_t voxels, int threads) {
  in_stretches(voxels, threads, [&](int64_t begin, int64_t end) {
    const float *fluid = p, *grey = p + voxels, *white = p + 2 * voxels;
    for (int64_t i = begin; i < end; ++i) {
      const float most = grey[i] > fluid[i] ? grey[i] : fluid[i];
      const int32_t label = white[i] > most ? 3 : grey[i] > fluid[i] ? 2 : 1;
      out[i] = uint8_t(mask[i] ? label : 0);
    }
  });
}

}  // namespace DAL_ISA
}  // namespace dal
