#include "capi/buffers.h"

#include <algorithm>
#include <initializer_list>

#include "capi/failure.h"
#include "capi/image.h"
#include "chain/anomaly.h"
#include "chain/brain.h"
#include "chain/contrast.h"
#include "chain/evidence.h"
#include "chain/head.h"
#include "chain/normalise.h"
#include "chain/topmean.h"
#include "nearby/nearby.h"
#include "recouple/recouple.h"
#include "spread/spread.h"
#include "tissue/tissue.h"

namespace dal {
namespace {

template <class T>
void take(Parts& parts, int64_t count, std::initializer_list<T**> buffers) {
  for (T** buffer : buffers) *buffer = parts.take<T>(count);
}

void* take_stage(Parts& parts, std::initializer_list<int64_t> workspaces) {
  return parts.take<char>(std::max(workspaces));
}

}  // namespace

void Arena::too_small(int64_t needed) const {
  fail(DAL_MEMORY, "session-too-small",
       "the scan or its brain is larger than the session was opened for: %lld bytes are needed and there "
       "are "
       "%lld; open one with larger limits",
       static_cast<long long>(needed), static_cast<long long>(capacity_));
}

ScanBuffers::ScanBuffers(void* memory, Shape shape) {
  Parts parts(memory);
  map = scan = parts.take<float>(shape.voxels());
  take(parts, shape.voxels(), {&brain, &above});
  finds = parts.take<double>(kFinds * shape.depth);
  regions = parts.take<Region>(kMostRegions);
  found = parts.take<dal_region>(kMostRegions);
  bytes = parts.used();
}

RegionBuffers::RegionBuffers(void* memory, Shape shape, int64_t least, int threads) {
  Parts parts(memory);
  stage = take_stage(
      parts, {anomaly_mask_workspace(shape, threads), region_table_workspace(shape, least, threads)});
  bytes = parts.used();
}

HeadBuffers::HeadBuffers(void* memory, const Settings& settings, Shape scan, Shape cover,
                         int64_t resampling, int threads) {
  Parts parts(memory);
  const Shape seen{settings.brain_shape[0], settings.brain_shape[1], settings.brain_shape[2]};
  whole = parts.take<float>(cover.voxels());
  distance = parts.take<float>(scan.voxels());
  take(parts, seen.voxels(), {&head, &altered, &first, &second, &faces, &clean});
  const HeadCover about{{cover.depth, cover.height, cover.width}, {}};
  stage = take_stage(
      parts, {place_head_workspace(about, seen), brain_distance_workspace(seen, threads), resampling});
  bytes = parts.used();
}

ModelBuffers::ModelBuffers(void* memory, const Settings& settings, Shape model, int64_t resampling,
                           int threads) {
  Parts parts(memory);
  const int64_t voxels = model.voxels();
  take(parts, voxels, {&image, &x, &phi, &bias, &fluid, &abnormal, &anomaly});
  p = parts.take<float>(kTissues * voxels);
  take(parts, voxels, {&mask, &view});
  kept = parts.used();
  take(parts, voxels, {&highest, &lowest, &spread});
  usual = settings.usual_residual ? parts.take<float>(kUsual * voxels) : nullptr;
  stage = take_stage(
      parts,
      {resampling, normalise_workspace(threads),
       DAL_DISPATCH(lay_atlas_workspace, settings.atlas, model, threads),
       DAL_DISPATCH(highest_nearby_workspace, model, threads),
       DAL_DISPATCH(usual_spread_workspace, voxels, threads), guess_contrast_workspace(model, threads),
       anomaly_map_workspace(model, EnhanceSettings(), threads), top_mean_workspace(voxels)});
  bytes = parts.used();
}

BoxBuffers::BoxBuffers(void* memory, const Settings& settings, Shape box, int threads) {
  Parts parts(memory);
  const int64_t voxels = box.voxels();
  take(parts, voxels, {&x, &phi, &bias, &fluid, &highest, &lowest, &spread});
  logit = highest;
  p = parts.take<float>(kTissues * voxels);
  const int64_t seen = settings.sees_evidence ? settings.tissue_inputs() : 0;
  const int64_t shown = settings.residual_head ? kResidualChannels : 0;
  float* const shared = parts.take<float>(std::max(seen + settings.tissue_outputs(), shown) * voxels);
  first = seen ? shared : x;
  output = shared ? shared + seen * voxels : nullptr;
  evidence = shown ? shared : nullptr;
  take(parts, voxels, {&mask, &signal});
  const EvidenceSettings sampled;
  stage = take_stage(
      parts,
      {DAL_DISPATCH(lay_atlas_workspace, settings.atlas, box, threads),
       DAL_DISPATCH(tissue_evidence_workspace, settings.atlas, box, sampled.step, threads),
       DAL_DISPATCH(closed_form_workspace, box, kTissues, RecoupleSettings(), threads),
       DAL_DISPATCH(highest_nearby_workspace, box, threads),
       DAL_DISPATCH(usual_spread_workspace, voxels, threads), residual_evidence_workspace(box, threads)});
  bytes = parts.used();
}

}  // namespace dal
