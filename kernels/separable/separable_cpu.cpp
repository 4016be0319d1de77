// Axes are taken in the order of the source's memory: planes are summed along the outermost, rows along
// the middle one, voxels along the innermost, so that every read is contiguous. Where the result's
// contiguous axis W is not the source's innermost, kLanes neighbours along W go side by side from the
// first axis that allows it, so that the last step is vectors from memory to memory.
#include <algorithm>
#include <utility>

#include "parallel.h"
#include "separable/separable.h"
#include "simd.h"

namespace dal {
namespace DAL_ISA {
namespace {

constexpr int64_t kLanes = 16;  // floats of a cache line
constexpr int64_t kChunk = 32;  // rows of the result that share the sums along the outermost axis

// The result's axes by the source's memory, outermost first, and how far each steps in the result.
struct Order {
  AxisTaps outer, middle, inner;
  int64_t out_outer, out_middle, out_inner;
  int64_t wide_outer, wide_middle;  // kLanes where W is that axis, else 1
};

Order order_of(const Separable& plan) {
  const int64_t steps[3] = {plan.stride_d, plan.stride_h, 1};
  int axis[3] = {0, 1, 2};
  const auto in_order = [&](int a, int b) {
    if (plan.axes[axis[a]].stride < plan.axes[axis[b]].stride) std::swap(axis[a], axis[b]);
  };
  in_order(0, 1), in_order(1, 2), in_order(0, 1);
  return {plan.axes[axis[0]], plan.axes[axis[1]], plan.axes[axis[2]],        steps[axis[0]],
          steps[axis[1]],     steps[axis[2]],     axis[0] == 2 ? kLanes : 1, axis[1] == 2 ? kLanes : 1};
}

// First and one past the last source voxel that results [begin, end) of an axis need.
struct Span {
  int64_t first, last;
};
Span needed(const AxisTaps& axis, int64_t begin, int64_t end) {
  Span span{axis.size, 0};
  for (int64_t t = 0; t < axis.taps; ++t)
    for (int64_t i = begin; i < end; ++i) {
      span.first = std::min<int64_t>(span.first, axis.index[t * axis.count + i]);
      span.last = std::max<int64_t>(span.last, axis.index[t * axis.count + i] + 1);
    }
  return span;
}

int64_t most_rows(const AxisTaps& middle) {
  int64_t most = 0;
  for (int64_t begin = 0; begin < middle.count; begin += kChunk) {
    const Span span = needed(middle, begin, std::min(begin + kChunk, middle.count));
    most = std::max(most, span.last - span.first);
  }
  return most;
}

bool turned(const Order& o) { return o.wide_outer * o.wide_middle > 1; }

int64_t floats_a_thread(const Order& o) {
  const int64_t lanes = turned(o) ? kLanes : 1;
  return (o.wide_outer * most_rows(o.middle) + lanes + 1) * o.inner.size;
}

template <class S>
DAL_INLINE void add_row(const S* x, int64_t stride, int64_t n, float weight, bool first, float* sum) {
  if (first && stride == 1) {
    for (int64_t i = 0; i < n; ++i) sum[i] = weight * float(x[i]);
  } else if (stride == 1) {
    for (int64_t i = 0; i < n; ++i) sum[i] += weight * float(x[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) sum[i] = (first ? 0.f : sum[i]) + weight * float(x[i * stride]);
  }
}

// sum of rows along one axis: result `at` of `axis`, rows `stride` apart, counted from `first`
template <class S>
void add_rows(const S* x, const AxisTaps& axis, int64_t at, int64_t first, int64_t stride, int64_t step,
              int64_t n, float* sum) {
  for (int64_t t = 0; t < axis.taps; ++t) {
    const int64_t place = t * axis.count + at;
    add_row(x + (axis.index[place] - first) * stride, step, n, axis.weight[place], t == 0, sum);
  }
}

void along(const float* row, const AxisTaps& axis, float* out) {
  for (int64_t t = 0; t < axis.taps; ++t) {
    const int32_t* index = axis.index + t * axis.count;
    const float* weight = axis.weight + t * axis.count;
    if (t == 0)
      for (int64_t i = 0; i < axis.count; ++i) out[i] = weight[i] * row[index[i]];
    else
      for (int64_t i = 0; i < axis.count; ++i) out[i] += weight[i] * row[index[i]];
  }
}

// The same for kLanes rows that lie voxel by voxel side by side; `lanes` of each result are kept.
void along_lanes(const float* rows, const AxisTaps& axis, int64_t lanes, int64_t step, float* out) {
  for (int64_t i = 0; i < axis.count; ++i) {
    float sum[kLanes] = {};
    for (int64_t t = 0; t < axis.taps; ++t) {
      const float* voxels = rows + axis.index[t * axis.count + i] * kLanes;
      const float weight = axis.weight[t * axis.count + i];
      for (int64_t lane = 0; lane < kLanes; ++lane) sum[lane] += weight * voxels[lane];
    }
    float* target = out + i * step;
    if (lanes == kLanes)
      for (int64_t lane = 0; lane < kLanes; ++lane) target[lane] = sum[lane];
    else
      for (int64_t lane = 0; lane < lanes; ++lane) target[lane] = sum[lane];
  }
}

void spread(const float* row, int64_t n, float* lane) {
  for (int64_t i = 0; i < n; ++i) lane[i * kLanes] = row[i];
}

// One chunk of the result: `outer` to `outer + wide`, rows `begin` to `end` along the middle axis.
template <class S>
void chunk(const S* x, const Order& o, int64_t outer, int64_t begin, int64_t end, float* out,
           float* scratch) {
  const int64_t row = o.inner.size, wide = std::min(o.wide_outer, o.outer.count - outer);
  const Span span = needed(o.middle, begin, end);
  const int64_t rows = span.last - span.first;
  float* line = scratch;  // kLanes rows side by side, or one
  float* one = line + (turned(o) ? kLanes : 1) * row;
  float* planes = one + row;
  const bool many = o.wide_outer > 1;
  for (int64_t b = 0; b < wide; ++b)
    for (int64_t r = 0; r < rows; ++r) {
      float* sum = many ? one : planes + r * row;
      add_rows(x + (span.first + r) * o.middle.stride, o.outer, outer + b, 0, o.outer.stride,
               o.inner.stride, row, sum);
      if (many) spread(one, row, planes + r * row * kLanes + b);
    }
  for (int64_t middle = begin; middle < end; middle += o.wide_middle) {
    float* target = out + outer * o.out_outer + middle * o.out_middle;
    if (!turned(o)) {
      add_rows(planes, o.middle, middle, span.first, row, 1, row, line);
      along(line, o.inner, target);
      continue;
    }
    const int64_t lanes = many ? wide : std::min(o.wide_middle, end - middle);
    if (many) {
      add_rows(planes, o.middle, middle, span.first, row * kLanes, 1, row * kLanes, line);
    } else {
      for (int64_t lane = 0; lane < lanes; ++lane) {
        add_rows(planes, o.middle, middle + lane, span.first, row, 1, row, one);
        spread(one, row, line + lane);
      }
    }
    along_lanes(line, o.inner, lanes, o.out_inner, target);
  }
}

template <class S>
void run(const S* x, const Order& o, float* out, float* workspace, int threads) {
  const int64_t outers = (o.outer.count + o.wide_outer - 1) / o.wide_outer;
  const int64_t chunks = (o.middle.count + kChunk - 1) / kChunk, per_thread = floats_a_thread(o);
  parallel_for(outers * chunks, threads, [&](int64_t task, int slot) {
    const int64_t begin = task % chunks * kChunk;
    chunk(x, o, task / chunks * o.wide_outer, begin, std::min(begin + kChunk, o.middle.count), out,
          workspace + slot * per_thread);
  });
}

}  // namespace

int64_t separable3d_workspace(const Separable& plan, int threads) {
  return int64_t(sizeof(float)) * threads * floats_a_thread(order_of(plan));
}

void separable3d(const void* x, Voxel kind, const Separable& plan, float* out, void* workspace,
                 int threads) {
  const Order order = order_of(plan);
  float* scratch = static_cast<float*>(workspace);
  switch (kind) {
    case Voxel::f32:
      return run(static_cast<const float*>(x), order, out, scratch, threads);
    case Voxel::u8:
      return run(static_cast<const uint8_t*>(x), order, out, scratch, threads);
    case Voxel::i16:
      return run(static_cast<const int16_t*>(x), order, out, scratch, threads);
  }
}

}  // namespace DAL_ISA
}  // namespace dal
