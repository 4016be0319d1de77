#include "capi/brain.h"

#include <algorithm>

#include "chain/evidence.h"
#include "chain/topmean.h"
#include "checkpoint.h"
#include "nearby/nearby.h"
#include "recouple/recouple.h"
#include "spread/spread.h"
#include "tissue/tissue.h"

namespace dal {
namespace {

constexpr float kCeiling = 1;  // where residuals are cut off: twice the brain's median

// b, which is 0 where it was not estimated (without_field of dal_fast/models/recouple.py).
float field_at(const float* bias, int64_t i) { return bias[i] > 0 ? bias[i] : 1.f; }

engine::Volume volume(float* data, int64_t channels, Shape s) {
  return {data, {1, channels, s.depth, s.height, s.width}};
}

}  // namespace

// From the normalised image to tissue logits, in the box.
void Brain::find_tissue() const {
  dal::crop(m_.image, model_, crop_, 1, b_.x, threads_);
  dal::crop(m_.mask, model_, crop_, 1, b_.mask, threads_);
  const float ceiling = settings_.input_ceiling;
  each(box_.voxels(), threads_, [&](int64_t i) { b_.x[i] = std::min(b_.x[i], ceiling); });
  if (settings_.sees_evidence) {
    float means[kTissues], spreads[kTissues];
    DAL_DISPATCH(tissue_evidence, b_.x, b_.mask, settings_.atlas, box_, EvidenceSettings(), b_.first, means,
                 spreads, b_.stage, threads_);
  }
  networks_.tissue->run(volume(b_.first, settings_.tissue_inputs(), box_),
                        volume(b_.output, settings_.tissue_outputs(), box_), watch_);
}

// Probabilities, fluid, bias, and the scan and the pseudo-healthy image without it.
void Brain::recouple() const {
  const int64_t voxels = box_.voxels();
  dal::crop(m_.image, model_, crop_, 1, b_.x, threads_);
  DAL_DISPATCH(tissue_probabilities, settings_.sees_evidence ? b_.first : nullptr, b_.output, b_.mask,
               kTissues, voxels, CombineSettings(), nullptr, b_.p, b_.fluid, threads_);
  if (!settings_.sees_evidence) add_place();
  checkpoint();
  float means[kTissues];
  DAL_DISPATCH(closed_form, b_.x, b_.p, b_.mask, kTissues, box_, RecoupleSettings(), b_.phi, b_.bias, means,
               b_.stage, threads_);
  each(voxels, threads_, [&](int64_t i) {
    const float field = field_at(b_.bias, i);
    b_.x[i] = std::min(b_.x[i] / field, kCeiling), b_.phi[i] /= field;
  });
}

// How probable it is that a voxel is abnormal.
void Brain::find_abnormal() const {
  if (!settings_.residual_head) return;
  const int64_t voxels = box_.voxels();
  const BoxBuffers& b = b_;
  DAL_DISPATCH(highest_nearby, b.phi, b.mask, 1.f, b.highest, box_, b_.stage, threads_);
  DAL_DISPATCH(highest_nearby, b.phi, b.mask, -1.f, b.lowest, box_, b_.stage, threads_);
  each(voxels, threads_, [&](int64_t i) { b.signal[i] = b.mask[i] && b.x[i] > 0; });
  float spreads[kTissues];
  DAL_DISPATCH(usual_spread, b.x, b.phi, b.p, b.signal, kTissues, voxels, SpreadSettings(), b.spread,
               spreads, b_.stage, threads_);
  checkpoint();
  const Compared scan{b.x, b.phi, b.fluid, b.highest, b.lowest, b.spread, b.mask};
  residual_evidence(scan, b.p, b.evidence, box_, b_.stage, threads_);
  networks_.residual_head->run(volume(b.evidence, kResidualChannels, box_), volume(b.logit, 1, box_),
                               watch_);
  abnormal_probability(b.logit, b.mask, b.logit, box_, threads_);
  uncrop(b.logit, crop_, model_, 1, m_.abnormal, threads_);
}

// Back on the model's grid.
LooksLike Brain::look() const {
  uncrop(b_.phi, crop_, model_, 1, m_.phi, threads_);
  uncrop(b_.bias, crop_, model_, 1, m_.bias, threads_);
  uncrop(b_.fluid, crop_, model_, 1, m_.fluid, threads_);
  uncrop(b_.p, crop_, model_, kTissues, m_.p, threads_);
  each(model_.voxels(), threads_,
       [&](int64_t i) { m_.x[i] = std::min(m_.image[i] / field_at(m_.bias, i), kCeiling); });
  checkpoint();
  return guess_contrast(m_.x, m_.phi, m_.p, m_.fluid, m_.view, ContrastSettings(), model_, m_.stage,
                        threads_);
}

// The anomaly map on the model's grid, and the scan's one number.
SignsWeighed Brain::score(Contrast contrast, double* score) const {
  const int64_t voxels = model_.voxels();
  DAL_DISPATCH(highest_nearby, m_.phi, m_.view, 1.f, m_.highest, model_, m_.stage, threads_);
  DAL_DISPATCH(highest_nearby, m_.phi, m_.view, -1.f, m_.lowest, model_, m_.stage, threads_);
  checkpoint();
  float spreads[kTissues];
  DAL_DISPATCH(usual_spread, m_.x, m_.phi, m_.p, m_.view, kTissues, voxels, SpreadSettings(), m_.spread,
               spreads, m_.stage, threads_);
  const Compared scan{m_.x, m_.phi, m_.fluid, m_.highest, m_.lowest, m_.spread, m_.view};
  const Calibrated healthy = laid_out(contrast);
  checkpoint();
  const float* const abnormal = settings_.residual_head ? m_.abnormal : nullptr;
  const SignsWeighed signs = anomaly_map(scan, abnormal, healthy, EnhanceSettings(), WeighingSettings(),
                                         m_.anomaly, model_, m_.stage, threads_);
  DAL_DISPATCH(keep_inside, m_.anomaly, m_.view, voxels, threads_);
  *score = top_mean(m_.anomaly, m_.mask, voxels, m_.stage);
  return signs;
}

// 1 - (1 - p_CSF) (1 - a_CSF): fluid where the tissue or the place lets one expect it.
void Brain::add_place() const {
  const Atlas fluid{settings_.atlas.values, 1, settings_.atlas.sides};
  float* const place = b_.spread;  // it is not used yet
  DAL_DISPATCH(lay_atlas, fluid, b_.mask, box_, place, b_.stage, threads_);
  each(box_.voxels(), threads_, [&](int64_t i) { b_.fluid[i] = 1 - (1 - b_.fluid[i]) * (1 - place[i]); });
}

Calibrated Brain::laid_out(Contrast contrast) const {
  const int index = static_cast<int>(contrast);
  Calibrated healthy = settings_.healthy[index];
  for (int which = 0; settings_.usual_residual && which < kUsual; ++which) {
    const Atlas& atlas = settings_.usual[index][which];
    if (!atlas.values) continue;
    float* const laid = m_.usual + which * model_.voxels();
    DAL_DISPATCH(lay_atlas, atlas, m_.view, model_, laid, m_.stage, threads_);
    (which == 0 ? healthy.bright.usual : which == 1 ? healthy.dark.usual : healthy.usual_structure) = laid;
  }
  return healthy;
}

}  // namespace dal
