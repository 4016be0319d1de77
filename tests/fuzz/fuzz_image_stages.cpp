// From a scan to its pseudo-healthy image: every path and number of threads gives the same bits, all
// finite, whatever the scan, the probabilities and the mask are.
#include "chain/grid.h"
#include "fuzz.h"
#include "nearby/nearby.h"
#include "recouple/recouple.h"
#include "spread/spread.h"
#include "tissue/tissue.h"

namespace {

using namespace fuzz;

void check_finite(const Buffer& buffer) {
  const Bytes bytes = buffer.bytes();
  for (size_t i = 0; i + 4 <= bytes.size(); i += 4) {
    float value;
    std::memcpy(&value, bytes.data() + i, 4);
    if (!std::isfinite(value)) fail("not finite");
  }
}

Style tame(Source& s) {
  const Style style = draw_style(s);
  return style == Style::special || style == Style::wild ? Style::mild : style;
}

// Probabilities that sum to at most 1.
void fill_shares(Source& s, float* p, int64_t tissues, int64_t voxels) {
  for (int64_t i = 0; i < voxels; ++i) {
    double left = 1;
    for (int64_t k = 0; k < tissues; ++k) {
      const double share = s.random() < 0.5 ? left * s.random() : left;
      p[k * voxels + i] = static_cast<float>(share);
      left -= share;
    }
  }
}

// A volume with what belongs to it.
struct Scan {
  dal::Shape shape;
  int64_t tissues, voxels;
  Volume x;
  Buffer p, mask;

  explicit Scan(Source& s)
      : shape(s.coin() ? dal::Shape{s.number(1, 9), s.number(1, 9), s.number(1, 70)}
                       : dal::Shape{s.number(8, 40), s.number(8, 40), s.number(8, 40)}),
        tissues(s.number(1, 4)),
        voxels(shape.voxels()),
        x(s, voxels, dal::DType::f32, tame(s)),
        p(4 * tissues * voxels),
        mask(voxels) {
    fill_shares(s, p.as<float>(), tissues, voxels);
    fill_mask(s, mask.as<uint8_t>(), voxels);
  }
  const float* image() { return static_cast<const float*>(x.data()); }
};

Bytes recouple(Scan& scan, int threads) {
  const dal::RecoupleSettings settings;
  Buffer image(4 * scan.voxels), bias(4 * scan.voxels), means(4 * scan.tissues), spreads(4 * scan.tissues);
  Buffer highest(4 * scan.voxels), sigma(4 * scan.voxels);
  Buffer workspace(DAL_DISPATCH(closed_form_workspace, scan.shape, scan.tissues, settings, threads));
  DAL_DISPATCH(closed_form, scan.image(), scan.p.as<float>(), scan.mask.as<uint8_t>(), scan.tissues,
               scan.shape, settings, image.as<float>(), bias.as<float>(), means.as<float>(),
               workspace.as<void>(), threads);
  Buffer other(DAL_DISPATCH(usual_spread_workspace, scan.voxels, threads));
  DAL_DISPATCH(usual_spread, scan.image(), image.as<float>(), scan.p.as<float>(), scan.mask.as<uint8_t>(),
               scan.tissues, scan.voxels, dal::SpreadSettings{}, sigma.as<float>(), spreads.as<float>(),
               other.as<void>(), threads);
  Buffer rows(DAL_DISPATCH(highest_nearby_workspace, scan.shape, threads));
  DAL_DISPATCH(highest_nearby, image.as<float>(), scan.mask.as<uint8_t>(), -1.f, highest.as<float>(),
               scan.shape, rows.as<void>(), threads);
  Bytes all;
  for (const Buffer* part : {&image, &bias, &means, &sigma, &spreads, &highest}) {
    check_finite(*part);
    append(all, *part);
  }
  return all;
}

Bytes tissue(Scan& scan, const dal::Atlas& atlas, const float* output, int threads) {
  const int64_t tissues = scan.tissues, channels = 1 + 2 * tissues;
  Buffer evidence(4 * channels * scan.voxels), means(4 * tissues), spreads(4 * tissues);
  Buffer logits(4 * tissues * scan.voxels), p(4 * tissues * scan.voxels), fluid(4 * scan.voxels);
  const dal::EvidenceSettings settings;
  Buffer workspace(DAL_DISPATCH(tissue_evidence_workspace, atlas, scan.shape, settings.step, threads));
  DAL_DISPATCH(tissue_evidence, scan.image(), scan.mask.as<uint8_t>(), atlas, scan.shape, settings,
               evidence.as<float>(), means.as<float>(), spreads.as<float>(), workspace.as<void>(), threads);
  DAL_DISPATCH(tissue_probabilities, evidence.as<float>(), output, scan.mask.as<uint8_t>(), tissues,
               scan.voxels, dal::CombineSettings{}, logits.as<float>(), p.as<float>(), fluid.as<float>(),
               threads);
  Bytes all;
  for (const Buffer* part : {&evidence, &means, &spreads, &logits, &p, &fluid}) {
    check_finite(*part);
    append(all, *part);
  }
  return all;
}

// A scan at any angle to the world, laid out in memory in any order.
dal::SourceGrid draw_grid(Source& s) {
  dal::SourceGrid grid{{s.number(1, 40), s.number(1, 40), s.number(1, 40)}, {}, {}};
  int order[3] = {0, 1, 2};
  std::swap(order[0], order[s.number(0, 2)]);
  std::swap(order[1], order[s.number(1, 2)]);
  int64_t stride = 1;
  for (const int axis : order) grid.stride[axis] = stride, stride *= grid.size[axis];
  const bool oblique = s.coin();
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 3; ++column)
      grid.affine[4 * row + column] = row == order[column] ? (s.coin() ? 1 : -1) * (0.5 + 4 * s.share())
                                      : oblique            ? s.share() - 0.5
                                                           : 0;
    grid.affine[4 * row + 3] = 200 * s.share() - 100;
  }
  grid.affine[15] = 1;
  return grid;
}

Bytes resampled(const dal::SourceGrid& scan, const float* x, const dal::ModelGrid& model, bool nearest,
                int threads) {
  const dal::ResamplePlan plan = dal::plan_resampling(scan, model.shape, model.affine, nearest);
  Buffer out(4 * model.shape.voxels()), workspace(dal::resample_workspace(plan, threads));
  dal::resample(plan, x, dal::Voxel::f32, out.as<float>(), workspace.as<void>(), threads);
  check_finite(out);
  return out.bytes();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Source s(data, size);
  if (s.number(0, 2) == 0) {
    const dal::SourceGrid grid = draw_grid(s);
    const int64_t voxels = grid.size[0] * grid.size[1] * grid.size[2];
    Volume x(s, voxels, dal::DType::f32, Style::mild);
    Buffer mask(voxels);
    fill_mask(s, mask.as<uint8_t>(), voxels);
    dal::GridSettings settings;
    settings.voxel_mm = 2 + 4 * s.share();
    dal::ModelGrid model{};
    if (!dal::plan_model_grid(grid, s.coin() ? mask.as<uint8_t>() : nullptr, settings, &model)) return 0;
    const bool nearest = s.coin();
    const auto* const from = static_cast<const float*>(x.data());
    everywhere([&](int threads) { return resampled(grid, from, model, nearest, threads); }, equal);
    return 0;
  }
  Scan scan(s);
  everywhere([&](int threads) { return recouple(scan, threads); }, equal);
  const dal::Shape sides{s.number(1, 12), s.number(1, 12), s.number(1, 12)};
  Buffer atlas(4 * scan.tissues * sides.voxels());
  fill_shares(s, atlas.as<float>(), scan.tissues, sides.voxels());
  Volume output(s, (scan.tissues + 1) * scan.voxels, dal::DType::f32, tame(s));
  const dal::Atlas of{atlas.as<float>(), scan.tissues, sides};
  everywhere(
      [&](int threads) { return tissue(scan, of, static_cast<const float*>(output.data()), threads); },
      equal);
  return 0;
}
