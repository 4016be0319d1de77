// Edges of volumes and of tissue logits, bit-equal on every path.
#include "canny3d/canny3d.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fuzz;
  Source s(data, size);
  const int64_t n = s.number(0, 2), c = s.number(1, 4);
  const int64_t d = s.number(1, 20), h = s.number(1, 20), w = s.number(1, 70);
  const dal::DType dtype = draw_dtype(s);
  Volume values(s, n * c * d * h * w, dtype, draw_style(s));
  Mask mask(s, n * d * h * w);
  const double levels[] = {0.29, 0.48, 0.72, 1.5};
  const bool logits = s.coin();
  const dal::CannyInput input{values.data(), logits ? levels : nullptr, mask.data(), n, c, d, h, w, dtype};
  const double sigma = 0.3 + 2.7 * s.share();
  std::vector<double> taps(static_cast<size_t>(s.number(1, 14)));
  for (size_t i = 0; i < taps.size(); ++i) taps[i] = std::exp(-0.5 * double(i * i) / (sigma * sigma));
  const int64_t radius = static_cast<int64_t>(taps.size()) - 1;
  const double low = 0.2 * s.share();
  const dal::CannyParameters parameters{taps.data(), radius, low, low + 0.2 * s.share()};
  const int64_t voxels = n * (logits ? 1 : c) * d * h * w, offset = s.number(0, 7);
  everywhere(
      [&](int threads) {
        Buffer edges(voxels, offset);
        Buffer workspace(DAL_DISPATCH(canny3d_workspace, input, radius, threads));
        DAL_DISPATCH(canny3d, input, parameters, workspace.as<void>(), edges.as<uint8_t>(), threads);
        return edges.bytes();
      },
      equal);
  return 0;
}
