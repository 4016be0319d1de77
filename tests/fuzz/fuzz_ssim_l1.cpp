// Map, hybrid score, sums and gradients; mild values are close on every path.
#include "fuzz.h"
#include "ssim_l1/ssim_l1.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fuzz;
  Source s(data, size);
  const int64_t volumes = s.number(0, 2), d = s.number(1, 16), h = s.number(1, 16), w = s.number(1, 60);
  const int radius = static_cast<int>(s.number(1, 16));
  const dal::DType dtype = draw_dtype(s);
  const Style style = draw_style(s);
  std::vector<double> weights(static_cast<size_t>(radius) + 1, 1.0);
  const double sigma = 0.5 + 5 * s.share();
  double sum = s.coin() ? 0 : 2 * radius + 1;
  for (int i = 0; !sum && i <= radius; ++i) weights[size_t(i)] = std::exp(-0.5 * i * i / (sigma * sigma));
  if (!sum) {
    sum = weights[0];
    for (int i = 1; i <= radius; ++i) sum += 2 * weights[size_t(i)];
  }
  for (double& weight : weights) weight /= sum;
  const int64_t voxels = volumes * d * h * w, bytes = voxels * size_of(dtype);
  Volume x(s, voxels, dtype, style), y(s, voxels, dtype, style), grad(s, voxels, dtype, style);
  const int64_t offset = s.number(0, 3) * size_of(dtype);
  const int64_t field = volumes * d * h * 4 * dal::ssim_padded(w) * (dtype == dal::DType::f64 ? 8 : 4);
  const bool hybrid = s.coin(), given = s.coin(), of_x = s.coin();
  const double range = s.coin() ? 1.0 : 255.0, upstream = s.share();
  const dal::SsimProblem bare{
      volumes, d, h, w, weights.data(), radius, 1e-4 * range * range, 9e-4 * range * range, dtype, nullptr};
  const auto like = [&](const Bytes& a, const Bytes& b) {
    if (style != Style::mild) return true;
    if (dtype == dal::DType::f32) return close<float>(a, b, 1e-6);
    return dtype != dal::DType::f64 || close<double>(a, b, 1e-10);
  };
  const auto scratch = [&](int threads) { return DAL_DISPATCH(ssim_workspace, bare, threads); };
  everywhere(
      [&](int threads) {
        Buffer out(bytes, offset), workspace(scratch(threads));
        dal::SsimProblem problem = bare;
        problem.workspace = workspace.as<void>();
        DAL_DISPATCH(ssim_map, x.data(), y.data(), out.as<void>(), hybrid, problem, threads);
        return out.bytes();
      },
      like);
  everywhere(
      [&](int threads) {
        Buffer sums(16), fields(field), workspace(scratch(threads));
        Buffer of_first(bytes, offset), of_second(bytes, offset);
        dal::SsimProblem problem = bare;
        problem.workspace = workspace.as<void>();
        if (given) {
          DAL_DISPATCH(ssim_fields, x.data(), y.data(), grad.data(), fields.as<void>(), problem, threads);
        } else {
          DAL_DISPATCH(ssim_sums, x.data(), y.data(), sums.as<double>(), fields.as<void>(), problem,
                       threads);
        }
        DAL_DISPATCH(ssim_backward, x.data(), y.data(), fields.as<void>(), &upstream, -0.5, 0.25,
                     of_x ? of_first.as<void>() : nullptr, of_second.as<void>(), problem, threads);
        Bytes all = of_second.bytes();
        if (of_x) append(all, of_first);
        return all;
      },
      like);
  return 0;
}
