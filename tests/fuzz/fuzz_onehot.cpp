// The one-hot volume and the anatomical image are bit-equal on every path; their gradient is close.
#include "fuzz.h"
#include "onehot/onehot.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fuzz;
  Source s(data, size);
  const dal::OnehotShape shape{s.number(0, 2), s.number(1, 6), s.number(0, 3000)};
  const dal::DType dtype = draw_dtype(s);
  const Style style = draw_style(s);
  const double table[] = {0.29, 0.48, 0.72, 1.0, -2.0, 0.0};
  const double* levels = s.coin() ? table : nullptr;
  const int64_t space = shape.batch * shape.voxels, channels = levels ? 1 : shape.classes;
  Volume logits(s, space * shape.classes, dtype, style), grad(s, space * channels, dtype, style);
  Mask mask(s, space);
  const double temperature = 0.05 + 2 * s.share();
  const int64_t offset = s.number(0, 3) * size_of(dtype);
  everywhere(
      [&](int threads) {
        Buffer out(space * channels * size_of(dtype), offset);
        DAL_DISPATCH(onehot_forward, logits.data(), levels, mask.data(), out.as<void>(), shape, dtype,
                     threads);
        return out.bytes();
      },
      equal);
  everywhere(
      [&](int threads) {
        Buffer out(space * shape.classes * size_of(dtype), offset);
        DAL_DISPATCH(onehot_backward, logits.data(), grad.data(), levels, mask.data(), out.as<void>(),
                     shape, temperature, dtype, threads);
        return out.bytes();
      },
      [&](const Bytes& a, const Bytes& b) {
        if (style != Style::mild) return true;
        if (dtype == dal::DType::f32) return close<float>(a, b, 1e-5);
        return dtype != dal::DType::f64 || close<double>(a, b, 1e-12);
      });
  return 0;
}
