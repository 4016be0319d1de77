// The dissimilarity over uniform windows: the same bits everywhere, in [0, 2 windows], 0 outside the mask.
#include "boxssim/boxssim.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fuzz;
  Source s(data, size);
  const dal::Shape shape{s.number(1, 40), s.number(1, 60), s.number(1, 40)};
  const int64_t n = shape.voxels();
  constexpr int sides[4] = {3, 5, 7, 11};
  dal::BoxWindows windows{int(s.number(1, 4)), {}};
  for (int i = 0; i < windows.count; ++i) windows.sides[i] = sides[s.number(0, 3)];
  const Style style = s.coin() ? Style::mild : Style::ties;
  Volume x(s, n, dal::DType::f32, style), y(s, n, dal::DType::f32, Style::mild);
  Buffer mask(n, s.number(0, 3));
  fill_mask(s, mask.as<uint8_t>(), n);
  everywhere(
      [&](int threads) {
        Buffer out(n * 4), workspace(DAL_DISPATCH(box_dissimilarity_workspace, shape, windows, threads));
        DAL_DISPATCH(box_dissimilarity, static_cast<const float*>(x.data()),
                     static_cast<const float*>(y.data()), mask.as<uint8_t>(), windows, out.as<float>(),
                     shape, workspace.as<void>(), threads);
        for (int64_t i = 0; i < n; ++i) {
          const float value = out.as<float>()[i];
          if (!(value >= 0 && value <= 2.0001f * float(windows.count))) fail("beyond what SSIM can be");
          if (!mask.as<uint8_t>()[i] && value != 0) fail("something outside the mask");
        }
        return out.bytes();
      },
      equal);
  return 0;
}
