// Labels and what remains are bit-equal on every path.
#include "components3d/components3d.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fuzz;
  Source s(data, size);
  constexpr int connectivities[] = {6, 18, 26};
  const dal::Components3dShape shape{s.number(0, 2), s.number(1, 20), s.number(1, 20), s.number(1, 150),
                                     connectivities[s.number(0, 2)]};
  const int64_t voxels = shape.volumes * shape.depth * shape.height * shape.width;
  Buffer mask(voxels, s.number(0, 7));
  fill_mask(s, mask.as<uint8_t>(), voxels);
  const int64_t least = s.number(0, 40), offset = s.number(0, 7);
  everywhere(
      [&](int threads) {
        Buffer labels(4 * voxels, 4 * offset), left(voxels, offset);
        Buffer workspace(DAL_DISPATCH(components3d_workspace, shape, threads));
        DAL_DISPATCH(components3d, mask.as<uint8_t>(), labels.as<int32_t>(), workspace.as<void>(), shape,
                     threads);
        DAL_DISPATCH(remove_small, mask.as<uint8_t>(), left.as<uint8_t>(), workspace.as<void>(), shape,
                     least, threads);
        Bytes all = labels.bytes();
        append(all, left);
        return all;
      },
      equal);
  return 0;
}
