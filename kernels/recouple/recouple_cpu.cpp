// The fit looks at every second voxel along each axis and is one thread's work; what is done for every
// voxel goes by planes: the field where the brain is, the certain voxels' values, and phi.
#include <algorithm>

#include "parallel.h"
#include "recouple/core.h"
#include "recouple/fit.h"
#include "recouple/recouple.h"

namespace dal {
namespace DAL_ISA {
namespace {

struct Scratch {
  float* powers[3];
  Samples samples;
  Fit fit;
  ClusterScratch clusters;
  float *log_field, *say;  // samples
  uint8_t* kept;  // samples
  uint8_t* suspicious;  // the coarse grid
  uint8_t *core, *peeled;  // voxels
  float* distance;  // voxels
  double* sums;  // planes
  int64_t* counts;  // planes
  void* selection;
};

// What is looked at follows from the volume, so that a GPU knows it before it knows the brain: of what
// networks see, a brain fills about a third.
constexpr int64_t kFilled = 3;

int64_t most_samples(Shape s, const RecoupleSettings& settings) {
  return std::max(coarse(s, 2).voxels(), std::min(s.voxels(), kFilled * settings.enough));
}

Scratch scratch_of(Parts& parts, Shape shape, int64_t tissues, const RecoupleSettings& settings,
                   int threads) {
  Scratch s{};
  const int64_t sides[3] = {shape.depth, shape.height, shape.width}, voxels = shape.voxels();
  for (int a = 0; a < 3; ++a) s.powers[a] = parts.take<float>(kPowers * sides[a]);
  const auto floats = [&](int64_t n) { return parts.take<float>(n); };
  const auto bytes = [&](int64_t n) { return parts.take<uint8_t>(n); };
  const int64_t n = most_samples(shape, settings), used = std::min(n, 2 * settings.enough_to_fit);
  s.selection = bytes(selection_workspace(std::max(threads, 1)));
  s.samples = {floats(n), floats(n), floats(n), floats(n), floats(n * tissues), parts.take<int32_t>(n), 0,
               n,         tissues,   1,         shape};
  s.fit = {floats(used),
           floats(used * tissues),
           floats(used),
           floats(used * kTerms),
           floats(used),
           floats(used),
           floats(used),
           floats(used),
           floats(used),
           floats(used),
           floats(used),
           bytes(used),
           0,
           used,
           s.selection};
  s.distance = floats(voxels);
  ClusterScratch& c = s.clusters;
  c.residual = s.distance, c.sums = floats(voxels), c.counts = floats(voxels);
  c.corrected = floats(n), c.certain = floats(n), c.own = floats(n), c.selection = s.selection;
  s.log_field = floats(n), s.say = floats(n), s.kept = bytes(n), s.suspicious = bytes(voxels);
  s.core = bytes(voxels), s.peeled = bytes(voxels);
  s.sums = parts.take<double>(shape.depth), s.counts = parts.take<int64_t>(shape.depth);
  return s;
}

// The scan, and what is being made of it.
struct Scan {
  const float *x, *p;
  const uint8_t* mask;
  int64_t tissues;
  Shape shape;
};

int64_t voxels_with_signal(const Scan& scan, const Scratch& s, int threads) {
  const int64_t plane = scan.shape.height * scan.shape.width;
  parallel_for(scan.shape.depth, threads, [&](int64_t d, int) {
    int32_t count = 0;
    for (int64_t i = d * plane; i < (d + 1) * plane; ++i) count += (scan.mask[i] != 0) & (scan.x[i] > 0);
    s.counts[d] = count;
  });
  int64_t all = 0;
  for (int64_t d = 0; d < scan.shape.depth; ++d) all += s.counts[d];
  return all;
}

// Coefficients of the log field; s.suspicious says which voxels of the coarse grid were left out.
void find_field(const Scan& scan, const RecoupleSettings& settings, Scratch& s, float* coefficients) {
  Samples& samples = s.samples;
  const Box box = bounding_box_with_signal(scan.x, scan.mask, scan.shape);
  const int64_t sides[3] = {scan.shape.depth, scan.shape.height, scan.shape.width};
  for (int a = 0; a < 3; ++a) lay_powers(box.first[a], box.last[a], sides[a], s.powers[a]);
  const float* const powers[3] = {s.powers[0], s.powers[1], s.powers[2]};
  take_samples(scan.x, scan.p, scan.mask, scan.shape, powers, samples);
  std::fill_n(s.suspicious, samples.grid.voxels(), uint8_t(0));
  std::fill_n(coefficients, kTerms, 0.f);
  if (samples.count == 0) return;  // a mask between the sampled planes
  std::fill_n(s.log_field, samples.count, 0.f);
  std::fill_n(s.say, samples.count, 1.f);
  std::fill_n(s.kept, samples.count, uint8_t(1));
  count_neighbours(samples, s.clusters);
  fit_field(samples, s.say, s.log_field, kCubic, settings, s.fit, coefficients);
  for (int refit = 0; refit < settings.refits; ++refit) {
    log_field_at(samples, coefficients, settings.largest, s.log_field);
    weigh_clusters(samples, s.log_field, settings, s.clusters, s.say, s.kept);
    fit_field(samples, s.say, s.log_field, kTerms, settings, s.fit, coefficients);
  }
  for (int64_t i = 0; i < samples.count; ++i) s.suspicious[samples.place[i]] = !s.kept[i];
}

// b where the mask is, not scaled yet; each plane's sum and number of voxels with signal.
void lay_field(const Scan& scan, const Scratch& s, const float* coefficients, float largest, float* bias,
               int threads) {
  const Shape shape = scan.shape;
  parallel_for(shape.depth, threads, [&](int64_t d, int) {
    double lanes[kSide] = {};
    int64_t count = 0;
    for (int64_t h = 0; h < shape.height; ++h) {
      const int64_t row = (d * shape.height + h) * shape.width;
      const RowEnds ends = ends_of_row(scan.mask + row, shape.width);
      if (ends.last < 0) continue;
      const RowPolynomial along(coefficients, s.powers[0] + kPowers * d, s.powers[1] + kPowers * h);
      for (int64_t w = ends.first; w <= ends.last; ++w) {
        const float field = along(s.powers[2] + kPowers * w), low = field > -largest ? field : -largest;
        bias[row + w] = exp_of(low < largest ? low : largest);
      }
      for (int64_t w = ends.first; w <= ends.last; ++w) {
        const bool inside = (scan.mask[row + w] != 0) & (scan.x[row + w] > 0);
        lanes[w % kSide] += inside ? double(bias[row + w]) : 0.0;
        count += inside;
      }
    }
    s.counts[d] = count, s.sums[d] = 0;
    for (const double lane : lanes) s.sums[d] += lane;
  });
}

// b's mean becomes 1 where there is signal, b itself 1 outside the mask.
void scale_field(const Scan& scan, const Scratch& s, float* bias, int threads) {
  double sum = 0;
  int64_t count = 0;
  for (int64_t d = 0; d < scan.shape.depth; ++d) sum += s.sums[d], count += s.counts[d];
  const auto mean = float(sum / double(std::max<int64_t>(count, 1)));
  const int64_t plane = scan.shape.height * scan.shape.width;
  parallel_for(scan.shape.depth, threads, [&](int64_t d, int) {
    for (int64_t i = d * plane; i < (d + 1) * plane; ++i) bias[i] = scan.mask[i] ? bias[i] / mean : 1.f;
  });
}

// Calls f(voxel, h, w) for those of plane d on the lattice with signal that no cluster holds.
template <class F>
DAL_INLINE void each_seen(const Scan& scan, const Scratch& s, int64_t step, int64_t d, F&& f) {
  const Shape shape = scan.shape, grid = s.samples.grid;
  const int64_t coarse_step = s.samples.step;
  for (int64_t h = 0; h < shape.height; h += step) {
    const int64_t row = (d * shape.height + h) * shape.width;
    const uint8_t* const left_out =
        s.suspicious + (d / coarse_step * grid.height + h / coarse_step) * grid.width;
    for (int64_t w = 0; w < shape.width; w += step)
      if (scan.mask[row + w] && scan.x[row + w] > 0 && !left_out[w / coarse_step]) f(row + w, h, w);
  }
}

// x / b of one tissue's certain voxels that the core surrounds, at the beginning of `values`; how many.
int64_t collect(const Scan& scan, const Scratch& s, const uint8_t* core, int64_t step, const float* bias,
                const float* share, float certain, float* values, int threads) {
  const int64_t plane = scan.shape.height * scan.shape.width, planes = ceil_div(scan.shape.depth, step);
  parallel_for(planes, threads, [&](int64_t task, int) {
    float* const first = values + task * step * plane;
    float* to = first;
    const int64_t d = task * step;
    each_seen(scan, s, step, d, [&](int64_t i, int64_t h, int64_t w) {
      if (share[i] > certain && surrounded(core, scan.shape, d, h, w)) *to++ = scan.x[i] / bias[i];
    });
    s.counts[task] = to - first;
  });
  int64_t all = 0;
  for (int64_t task = 0; task < planes; ++task) {
    std::copy_n(values + task * step * plane, s.counts[task], values + all);
    all += s.counts[task];
  }
  return all;
}

float weighted_mean(const Scan& scan, const Scratch& s, int64_t step, const float* bias,
                    const float* share) {
  double weight = 0, sum = 0;
  for (int64_t d = 0; d < scan.shape.depth; d += step)
    each_seen(scan, s, step, d, [&](int64_t i, int64_t, int64_t) {
      weight += double(share[i]);
      sum += double(share[i]) * double(scan.x[i] / bias[i]);
    });
  return float(sum / std::max(weight, 1e-6));
}

void mix(const Scan& scan, const float* means, const float* bias, float* image, int threads) {
  const int64_t plane = scan.shape.height * scan.shape.width, voxels = scan.shape.voxels();
  parallel_for(scan.shape.depth, threads, [&](int64_t d, int) {
    const int64_t begin = d * plane;
    std::fill_n(image + begin, plane, 0.f);
    for (int64_t k = 0; k < scan.tissues; ++k)
      for (int64_t i = 0; i < plane; ++i) image[begin + i] += means[k] * scan.p[k * voxels + begin + i];
    for (int64_t i = begin; i < begin + plane; ++i) image[i] = scan.mask[i] ? image[i] * bias[i] : 0.f;
  });
}

}  // namespace

int64_t closed_form_workspace(Shape shape, int64_t tissues, const RecoupleSettings& settings, int threads) {
  Parts parts(nullptr);
  scratch_of(parts, shape, tissues, settings, threads);
  return parts.used();
}

void closed_form(const float* x, const float* p, const uint8_t* mask, int64_t tissues, Shape shape,
                 const RecoupleSettings& settings, float* image, float* bias, float* means, void* workspace,
                 int threads) {
  Parts parts(workspace);
  Scratch s = scratch_of(parts, shape, tissues, settings, threads);
  const Scan scan{x, p, mask, tissues, shape};
  const int64_t count = voxels_with_signal(scan, s, threads), usual = shape.voxels() / kFilled;
  int64_t step = 1;
  while (usual >= settings.plenty * step * step * step) step *= 2;
  s.samples.step = usual >= settings.enough ? 2 * step : 1;
  if (count > settings.fewest) {
    float coefficients[kTerms];
    find_field(scan, settings, s, coefficients);
    lay_field(scan, s, coefficients, settings.largest, bias, threads);
    scale_field(scan, s, bias, threads);
  } else {
    s.samples.grid = coarse(shape, s.samples.step);
    std::fill_n(s.suspicious, s.samples.grid.voxels(), uint8_t(0));
    std::fill_n(bias, shape.voxels(), 1.f);
  }
  const uint8_t* const core = without_dark_border(x, mask, shape, settings, s.core, s.peeled, threads);
  for (int64_t k = 0; k < tissues; ++k) {
    const float* const share = p + k * shape.voxels();
    float* const values = image;  // until it is written
    const int64_t many = collect(scan, s, core, step, bias, share, settings.certain, values, threads);
    means[k] = many < kFewCertain
                   ? weighted_mean(scan, s, step, bias, share)
                   : mean_near_median(values, many, settings.keep, s.distance, s.selection, threads);
  }
  mix(scan, means, bias, image, threads);
}

}  // namespace DAL_ISA
}  // namespace dal
