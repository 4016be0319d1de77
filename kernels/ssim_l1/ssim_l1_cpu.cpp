// Launchers: shifts, then tiles in parallel, then sums in tile order. The filtering is in march.h, the
// formulas per row in combine.h.
#include "pages.h"
#include "parallel.h"
#include "ssim_l1/combine.h"
#include "ssim_l1/march.h"
#include "ssim_l1/ssim_l1.h"

namespace dal {
namespace DAL_ISA {
namespace {

constexpr uintptr_t kAlign = 64;  // of a thread's scratch: no vector of it crosses a cache line
constexpr int64_t kVoxelsPerThread = 8192;  // below, waking a thread costs more than it brings

// The workspace's parts: sums of every tile, shifts of every volume, scratch of every thread.
struct Workspace {
  double (*sums)[2];
  Shift* shifts;
  char* scratch;
  int64_t scratch_bytes, fixed_bytes;

  int64_t bytes(int threads) const { return fixed_bytes + threads * scratch_bytes; }
};

int64_t tasks_of(const SsimProblem& p, const Tiling& t) { return p.volumes * t.slabs * t.chunks; }

template <class T>
Workspace lay_out(const SsimProblem& p, const Tiling& t) {
  const int64_t sums = tasks_of(p, t) * 16, shifts = p.volumes * int64_t(sizeof(Shift));
  Scratch<T> scratch;
  char* const base = static_cast<char*>(p.workspace);
  Workspace w;
  w.sums = reinterpret_cast<double (*)[2]>(base);
  w.shifts = reinterpret_cast<Shift*>(base + sums);
  const uintptr_t unaligned = reinterpret_cast<uintptr_t>(base) + uintptr_t(sums + shifts);
  w.scratch = base + sums + shifts + (kAlign - unaligned % kAlign) % kAlign;
  w.scratch_bytes = scratch.lay_out(base_to_measure_from<T>(), t, p.radius) * int64_t(sizeof(T));
  w.fixed_bytes = sums + shifts + kAlign;
  return w;
}

// Mean of the finite voxels of about 16 x 4 rows.
template <class S>
double sampled_mean(const S* volume, const SsimProblem& p) {
  const int64_t step_z = ceil_div(p.depth, 16), step_y = ceil_div(p.height, 4);
  double sum = 0, count = 0;
  for (int64_t z = step_z / 2; z < p.depth; z += step_z)
    for (int64_t y = step_y / 2; y < p.height; y += step_y)
      for (int64_t i = 0; i < p.width; ++i) {
        const double v = double(to_arithmetic(volume[(z * p.height + y) * p.width + i]));
        const bool finite = std::isfinite(v);
        sum += finite ? v : 0;
        count += finite;
      }
  return count > 0 ? sum / count : 0;
}

template <class Radius, class T>
void run_tile(const RowWork<T>& work, const T* fields, const SsimProblem& p, const Tiling& t, Radius radius,
              const Tile& tile, const Scratch<T>& s, double* sums) {
  if (fields)
    march(Fields<T>{fields, p, t.padded}, work, tile, p, t, radius, s, sums);
  else
    march(Moments<T>{work, p, s.stage, t.padded}, work, tile, p, t, radius, s, sums);
}

// Every tile through `work`; the filter's source is `fields`, or the inputs when null.
template <class T>
void run(const RowWork<T>& work, const T* fields, const SsimProblem& p, const Tiling& t, const Workspace& w,
         int threads) {
  parallel_for(tasks_of(p, t), threads, [&](int64_t task, int slot) {
    Scratch<T> s;
    s.lay_out(reinterpret_cast<T*>(w.scratch + slot * w.scratch_bytes), t, p.radius);
    double* const sums = w.sums[task];
    sums[0] = sums[1] = 0;
    const Tile tile = tile_of(p, t, task);
    if (p.radius == 3)
      run_tile(work, fields, p, t, FixedRadius<3>{}, tile, s, sums);
    else if (p.radius == 5)
      run_tile(work, fields, p, t, FixedRadius<5>{}, tile, s, sums);
    else
      run_tile(work, fields, p, t, AnyRadius{p.radius}, tile, s, sums);
  });
}

// make(pair) gives the RowWork. Adds the tiles' sums to total[0..1] when it is not null.
template <class S, class Make>
void launch(const void* x, const void* y, const void* fields, const SsimProblem& p, double* total,
            int threads, Make make) {
  using T = arithmetic_t<S>;
  const Tiling t = tiling_of<T>(p);
  const Workspace w = lay_out<T>(p, t);
  const int64_t volume = p.depth * p.height * p.width;
  threads = int(std::min<int64_t>(threads, p.volumes * volume / kVoxelsPerThread + 1));
  const S *const a = static_cast<const S*>(x), *const b = static_cast<const S*>(y);
  parallel_for(p.volumes, threads, [&](int64_t i, int) {
    w.shifts[i] = {sampled_mean(a + i * volume, p), sampled_mean(b + i * volume, p)};
  });
  const auto work = make(Pair<S>{a, b, p, w.shifts});
  run<T>(work, static_cast<const T*>(fields), p, t, w, threads);
  if (!total) return;
  total[0] = total[1] = 0;
  for (int64_t task = 0; task < tasks_of(p, t); ++task) {
    total[0] += w.sums[task][0];
    total[1] += w.sums[task][1];
  }
}

}  // namespace

int64_t ssim_workspace(SsimProblem p, int threads) {
  return with_dtype(p.dtype, [&](auto tag) {
    using T = arithmetic_t<typename decltype(tag)::type>;
    p.workspace = base_to_measure_from<T>();
    return lay_out<T>(p, tiling_of<T>(p)).bytes(threads);
  });
}

namespace {

// An output of `row` elements for each row of the volumes, about to be written for the first time.
template <class T>
T* output(void* p, const SsimProblem& problem, int64_t row, int threads) {
  const int64_t elements = problem.volumes * problem.depth * problem.height * row;
  if (p) prefer_huge_pages(p, size_t(elements) * sizeof(T), threads);
  return static_cast<T*>(p);
}

template <class S>
FieldWork<S> field_work(const Pair<S>& pair, const void* grad, void* fields, int threads) {
  const int64_t row = kFields * ssim_padded(pair.p.width);
  return FieldWork<S>(pair, static_cast<const S*>(grad),
                      output<arithmetic_t<S>>(fields, pair.p, row, threads));
}

}  // namespace

void ssim_map(const void* x, const void* y, void* out, bool hybrid, SsimProblem p, int threads) {
  with_dtype(p.dtype, [&](auto tag) {
    using S = typename decltype(tag)::type;
    launch<S>(x, y, nullptr, p, nullptr, threads, [&](const auto& pair) {
      return MapWork<S>(pair, output<S>(out, p, p.width, threads), hybrid);
    });
  });
}

void ssim_sums(const void* x, const void* y, double* sums, void* fields, SsimProblem p, int threads) {
  with_dtype(p.dtype, [&](auto tag) {
    using S = typename decltype(tag)::type;
    launch<S>(x, y, nullptr, p, sums, threads,
              [&](const auto& pair) { return field_work<S>(pair, nullptr, fields, threads); });
  });
}

void ssim_fields(const void* x, const void* y, const void* grad, void* fields, SsimProblem p, int threads) {
  with_dtype(p.dtype, [&](auto tag) {
    using S = typename decltype(tag)::type;
    launch<S>(x, y, nullptr, p, nullptr, threads,
              [&](const auto& pair) { return field_work<S>(pair, grad, fields, threads); });
  });
}

void ssim_backward(const void* x, const void* y, const void* fields, const double* upstream, double scale,
                   double l1, void* grad_x, void* grad_y, SsimProblem p, int threads) {
  const double factor = upstream ? *upstream : 1.0;
  with_dtype(p.dtype, [&](auto tag) {
    using S = typename decltype(tag)::type;
    launch<S>(x, y, fields, p, nullptr, threads, [&](const auto& pair) {
      return GradientWork<S>(pair, factor * scale, factor * l1, output<S>(grad_x, p, p.width, threads),
                             output<S>(grad_y, p, p.width, threads));
    });
  });
}

}  // namespace DAL_ISA
}  // namespace dal
