// The mean over 27 voxels is that of a plain loop, on every path and for every number of threads.
#include "boxmean/boxmean.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fuzz;
  Source s(data, size);
  const dal::Shape shape{s.number(1, 20), s.number(1, 20), s.number(1, 40)};
  const int64_t n = shape.voxels(), step = s.number(1, 4);
  Volume drawn(s, n, dal::DType::f32, Style::mild);
  const auto* const x = static_cast<const float*>(drawn.data());
  const auto at = [&](int64_t d, int64_t h, int64_t w) {
    const bool inside =
        d >= 0 && h >= 0 && w >= 0 && d < shape.depth && h < shape.height && w < shape.width;
    return inside ? double(x[(d * shape.height + h) * shape.width + w]) : 0.0;
  };
  const auto mean = [&](int64_t d, int64_t h, int64_t w) {
    double sum = 0;
    for (int64_t a = -step; a <= step; a += step)
      for (int64_t b = -step; b <= step; b += step)
        for (int64_t c = -step; c <= step; c += step) sum += at(d + a, h + b, w + c);
    return sum / 27;
  };
  everywhere(
      [&](int threads) {
        Buffer out(n * 4), workspace(DAL_DISPATCH(box_mean_workspace, shape, step, threads));
        DAL_DISPATCH(box_mean, x, step, out.as<float>(), shape, workspace.as<void>(), threads);
        for (int64_t i = 0; i < n; ++i) {
          const double exactly =
              mean(i / shape.width / shape.height, i / shape.width % shape.height, i % shape.width);
          if (!(std::abs(double(out.as<float>()[i]) - exactly) < 1e-6)) fail("the mean");
        }
        return out.bytes();
      },
      equal);
  return 0;
}
