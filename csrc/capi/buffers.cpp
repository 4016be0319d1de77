#include "capi/buffers.h"

#include <algorithm>

#include "capi/image.h"
#include "chain/anomaly.h"
#include "chain/contrast.h"
#include "chain/evidence.h"
#include "chain/topmean.h"
#include "nearby/nearby.h"
#include "recouple/recouple.h"
#include "spread/spread.h"
#include "tissue/tissue.h"

namespace dal {

Buffers::Buffers(void* memory, const Settings& settings, const Sizes& sizes) {
  Parts parts(memory);
  const int64_t scanned = sizes.scan.voxels(), grid = sizes.model.voxels(), boxed = sizes.box.voxels();
  const auto floats = [&](int64_t voxels, std::initializer_list<float**> volumes) {
    for (float** volume : volumes) *volume = parts.take<float>(voxels);
  };
  const auto bytes_of = [&](int64_t voxels, std::initializer_list<uint8_t**> volumes) {
    for (uint8_t** volume : volumes) *volume = parts.take<uint8_t>(voxels);
  };
  floats(scanned, {&scan, &map, &pseudo_healthy});
  bytes_of(scanned, {&brain, &above});
  finds = parts.take<double>(kFinds * sizes.scan.depth);
  regions = parts.take<Region>(kMostRegions);
  found = parts.take<dal_region>(kMostRegions);
  floats(grid, {&image, &x, &phi, &bias, &fluid, &abnormal, &anomaly, &highest, &lowest, &spread});
  p = parts.take<float>(kTissues * grid);
  usual = settings.usual_residual ? parts.take<float>(2 * grid) : nullptr;
  bytes_of(grid, {&mask, &view});
  floats(boxed, {&box.x, &box.phi, &box.bias, &box.fluid, &box.highest, &box.lowest, &box.spread, &box.logit});
  box.first = settings.sees_evidence ? parts.take<float>(settings.tissue_inputs() * boxed) : box.x;
  box.output = parts.take<float>(settings.tissue_outputs() * boxed);
  box.p = parts.take<float>(kTissues * boxed);
  box.evidence = settings.residual_head ? parts.take<float>(kResidualChannels * boxed) : nullptr;
  bytes_of(boxed, {&box.mask, &box.signal});
  stage = parts.take<char>(stage_bytes(settings, sizes));
  bytes = parts.used();
}

int64_t Buffers::stage_bytes(const Settings& settings, const Sizes& sizes) const {
  const int threads = sizes.threads;
  const int64_t grid = sizes.model.voxels(), boxed = sizes.box.voxels();
  const int64_t least = 1;
  return std::max({
      DAL_DISPATCH(lay_atlas_workspace, settings.atlas, sizes.box, threads),
      DAL_DISPATCH(tissue_evidence_workspace, settings.atlas, sizes.box, EvidenceSettings().step, threads),
      DAL_DISPATCH(closed_form_workspace, sizes.box, kTissues, RecoupleSettings(), threads),
      DAL_DISPATCH(highest_nearby_workspace, sizes.box, threads),
      DAL_DISPATCH(highest_nearby_workspace, sizes.model, threads),
      DAL_DISPATCH(usual_spread_workspace, std::max(grid, boxed), threads),
      residual_evidence_workspace(sizes.box, threads),
      guess_contrast_workspace(sizes.model, threads),
      anomaly_map_workspace(sizes.model, EnhanceSettings(), threads),
      top_mean_workspace(grid),
      anomaly_mask_workspace(sizes.scan, threads),
      region_table_workspace(sizes.scan, least, threads),
  });
}

}  // namespace dal
