// One volume at a time: tiles march from input to weak and strong bits, then hysteresis, then bytes.
// See canny3d.h for the formulas, plan.h for the tiling and README.md for the roofline.
//
// Built with -ffp-contract=off: the same bits on every instruction set.
#include <cstring>
#include <limits>

#include "canny3d/canny3d.h"
#include "canny3d/gradient.h"
#include "canny3d/hysteresis.h"
#include "canny3d/plan.h"
#include "canny3d/smooth.h"
#include "canny3d/source.h"
#include "canny3d/suppress.h"
#include "parallel.h"

namespace dal {
namespace DAL_ISA {
namespace {

template <class A>
struct Thresholds {
  A low, high;  // of 32 M; low > 0, so that a voxel without gradient is no edge

  Thresholds(double low_value, double high_value)
      : low(std::max(A(32 * low_value), std::numeric_limits<A>::min())), high(A(32 * high_value)) {}
};

// Marches one tile through one slab: plane z is suppressed once plane z+1 has a magnitude, which takes
// smoothed plane z+2, which takes blurred plane z+2+R.
template <class A, class Rows>
struct March {
  const Plan<A>& plan;
  const Shared<A>& shared;
  const Smoother<A, Rows> smoother;
  const Gradient<A> gradient;
  const uint8_t* mask;
  Thresholds<A> threshold;
  int64_t next_blurred, next_smoothed, next_gradient;

  March(const Plan<A>& p, const Shared<A>& s, const Scratch<A>& scratch, const Rows& rows,
        const uint8_t* volume_mask, Thresholds<A> t, Range z, Range y)
      : plan(p),
        shared(s),
        smoother{p, s, scratch, rows, volume_mask, y.grown(2, p.height)},
        gradient{p, scratch, y.grown(1, p.height)},
        mask(volume_mask),
        threshold(t),
        next_blurred(z.grown(2 + p.radius, p.depth).begin),
        next_smoothed(z.grown(2, p.depth).begin),
        next_gradient(z.grown(1, p.depth).begin) {}

  template <int R>
  void run(Range z, Range y) {
    for (int64_t plane = z.begin; plane < z.end; ++plane) {
      const int64_t last_gradient = std::min(plane + 1, plan.depth - 1);
      for (; next_gradient <= last_gradient; ++next_gradient) {
        smooth_until<R>(std::min(next_gradient + 1, plan.depth - 1));
        gradient.differentiate_plane(next_gradient,
                                     [&](int64_t at, int64_t row) { return smoother.smoothed(at, row); });
      }
      for (int64_t row = y.begin; row < y.end; ++row) suppress_row(plane, row);
    }
  }

  template <int R>
  void smooth_until(int64_t last) {
    for (; next_smoothed <= last; ++next_smoothed) {
      const int64_t last_blurred = std::min(next_smoothed + plan.radius, plan.depth - 1);
      for (; next_blurred <= last_blurred; ++next_blurred) smoother.template blur_plane<R>(next_blurred);
      smoother.template smooth_plane<R>(next_smoothed);
    }
  }

  void suppress_row(int64_t z, int64_t y) const {
    Neighbours<A> near;
    for (int64_t dz = -1; dz <= 1; ++dz)
      for (int64_t dy = -1; dy <= 1; ++dy)
        near.m[1 + dz][1 + dy] =
            gradient.magnitude(inside(z + dz, plan.depth), inside(y + dy, plan.height));
    const A* g = gradient.gradient(z, y);
    const uint8_t* mask_row = mask ? mask + (z * plan.height + y) * plan.width : nullptr;
    const int64_t bits = plan.bit_row(z, y) * plan.words;
    if (near.m[1][1] == smoother.scratch.zeros) {
      std::fill(shared.weak + bits, shared.weak + bits + plan.words, 0);
      std::fill(shared.strong + bits, shared.strong + bits + plan.words, 0);
      return;
    }
    for (int64_t k = 0; k < plan.words; ++k)
      suppress_word(near, g, mask_row, plan.wide, 64 * k, std::min<int64_t>(64, plan.width - 64 * k),
                    threshold.low, threshold.high, shared.weak + bits + k, shared.strong + bits + k);
  }

  static int64_t inside(int64_t i, int64_t n) { return std::min(std::max<int64_t>(i, 0), n - 1); }
};

// The margin of zeros around both bit volumes, and no row queued or dirty.
template <class A>
void clear_bits(const Plan<A>& plan, const Shared<A>& shared) {
  const size_t row = sizeof(uint64_t) * size_t(plan.words), plane = row * size_t(plan.height + 2);
  for (uint64_t* bits : {shared.weak, shared.strong}) {
    std::memset(bits, 0, plane);
    for (int64_t z = 0; z < plan.depth; ++z) {
      std::memset(bits + plan.bit_row(z, -1) * plan.words, 0, row);
      std::memset(bits + plan.bit_row(z, plan.height) * plan.words, 0, row);
    }
    std::memset(bits + plan.bit_row(plan.depth, -1) * plan.words, 0, plane);
  }
  std::memset(shared.queued, 0, size_t(plan.bit_rows));
  std::memset(shared.dirty, 0, size_t(plan.bit_rows));
}

// Bits of a word to bytes of 0 and 1, eight at a time.
inline void write_bytes(uint64_t word, int64_t n, uint8_t* out) {
  if (!word) {
    std::memset(out, 0, size_t(n));
    return;
  }
  for (int64_t i = 0; i < n; i += 8) {
    const uint64_t spread = (word >> i & 0xff) * 0x0101010101010101u & 0x8040201008040201u;
    const uint64_t bytes = (spread + 0x7f7f7f7f7f7f7f7fu) >> 7 & 0x0101010101010101u;
    std::memcpy(out + i, &bytes, size_t(std::min<int64_t>(8, n - i)));
  }
}

template <class A>
void write_edges(const Plan<A>& plan, const Shared<A>& shared, uint8_t* edges, int threads) {
  constexpr int64_t kPlanes = 8;
  parallel_for(ceil_div(plan.depth, kPlanes), threads, [&](int64_t task, int) {
    for (int64_t z = task * kPlanes; z < std::min(plan.depth, (task + 1) * kPlanes); ++z)
      for (int64_t y = 0; y < plan.height; ++y) {
        const uint64_t* bits = shared.strong + plan.bit_row(z, y) * plan.words;
        uint8_t* row = edges + (z * plan.height + y) * plan.width;
        for (int64_t k = 0; k < plan.words; ++k)
          write_bytes(bits[k], std::min<int64_t>(64, plan.width - 64 * k), row + 64 * k);
      }
  });
}

template <class A, class Rows>
void find_edges(const Plan<A>& plan, const Shared<A>& shared, uint8_t* scratch, int64_t scratch_bytes,
                const Rows& rows, const uint8_t* mask, Thresholds<A> threshold, uint8_t* edges,
                int threads) {
  clear_bits(plan, shared);
  parallel_for(plan.tiles * plan.slabs, threads, [&](int64_t task, int slot) {
    Arena arena{scratch + slot * scratch_bytes};
    const Scratch<A> mine(plan, arena);
    mine.clear(plan);
    const Range z = plan.slab(task / plan.tiles), y = plan.tile(task % plan.tiles);
    March<A, Rows> march(plan, shared, mine, rows, mask, threshold, z, y);
    if (plan.radius == 4)  // sigma = 1, the default
      march.template run<4>(z, y);
    else
      march.template run<0>(z, y);
  });
  grow_edges(plan, shared, threads);
  write_edges(plan, shared, edges, threads);
}

template <class S>
void run(const CannyInput& in, const CannyParameters& parameters, void* workspace, uint8_t* edges,
         int threads) {
  using A = arithmetic_t<S>;
  const Plan<A> plan(in.depth, in.height, in.width, parameters.radius, in.mask != nullptr, threads);
  Arena arena{static_cast<uint8_t*>(workspace)};
  const Shared<A> shared(plan, arena);
  uint8_t* const scratch = arena.base + arena.used;
  const int64_t scratch_bytes = (workspace_bytes(plan, 1) - arena.used);
  for (int64_t k = 0; k <= plan.radius; ++k) shared.taps[k] = A(parameters.taps[k]);
  border_scale(parameters.taps, plan.radius, plan.depth, shared.scale_z);
  border_scale(parameters.taps, plan.radius, plan.height, shared.scale_y);
  border_scale(parameters.taps, plan.radius, plan.width, shared.scale_x);
  std::fill(shared.scale_x + plan.width, shared.scale_x + plan.wide, A(0));

  const int64_t voxels = in.depth * in.height * in.width;
  const int64_t images = in.levels ? 1 : in.channels;
  const Thresholds<A> threshold(parameters.low, parameters.high);
  for (int64_t i = 0; i < in.batch * images; ++i) {
    const int64_t b = i / images;
    const uint8_t* mask = in.mask ? in.mask + b * voxels : nullptr;
    const S* values = static_cast<const S*>(in.values) + (in.levels ? b * in.channels : i) * voxels;
    const auto find = [&](const auto& rows) {
      find_edges(plan, shared, scratch, scratch_bytes, rows, mask, threshold, edges + i * voxels, threads);
    };
    if (in.levels)
      find(LevelRows<S>{values, in.levels, in.channels, voxels});
    else
      find(VolumeRows<S>{values, !mask && plan.wide == plan.width});
  }
}

}  // namespace

int64_t canny3d_workspace(const CannyInput& in, int64_t radius, int threads) {
  return with_dtype(in.dtype, [&](auto tag) {
    using A = arithmetic_t<typename decltype(tag)::type>;
    const Plan<A> plan(in.depth, in.height, in.width, radius, in.mask != nullptr, threads);
    return workspace_bytes(plan, threads);
  });
}

void canny3d(const CannyInput& input, const CannyParameters& parameters, void* workspace, uint8_t* edges,
             int threads) {
  with_dtype(input.dtype, [&](auto tag) {
    run<typename decltype(tag)::type>(input, parameters, workspace, edges, threads);
  });
}

}  // namespace DAL_ISA
}  // namespace dal
