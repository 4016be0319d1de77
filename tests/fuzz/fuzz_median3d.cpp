// Bit-equal on every path; NaN are ordered, so they are values like any other.
#include "fuzz.h"
#include "median3d/median3d.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fuzz;
  Source s(data, size);
  const dal::Median3dShape shape{s.number(0, 2),  s.number(1, 2),  s.number(1, 20),
                                 s.number(1, 20), s.number(1, 70), static_cast<int>(s.number(3, 5))};
  const dal::DType dtype = draw_dtype(s);
  const int64_t space = shape.depth * shape.height * shape.width;
  const int64_t voxels = shape.batch * shape.channels * space;
  Volume x(s, voxels, dtype, draw_style(s));
  Mask mask(s, shape.batch * space);
  const int64_t offset = s.number(0, 3) * size_of(dtype);
  everywhere(
      [&](int threads) {
        Buffer out(voxels * size_of(dtype), offset);
        Buffer workspace(DAL_DISPATCH(median3d_workspace, shape, dtype, threads));
        DAL_DISPATCH(median3d, x.data(), mask.data(), out.as<void>(), workspace.as<void>(), shape, dtype,
                     threads);
        return out.bytes();
      },
      equal);
  return 0;
}
