// Probabilities of any logits, those among them that are no numbers: inside the mask they add up to 1 where
// the logits are numbers, outside they are 0, and every path gives the same.
#include "fuzz.h"
#include "residual/residual.h"
#include "tissue/tissue.h"

namespace {

// To the bit, but for which NaN it is.
bool alike(const fuzz::Bytes& a, const fuzz::Bytes& b) {
  for (size_t i = 0; i < a.size(); i += sizeof(float)) {
    float p, q;
    std::memcpy(&p, a.data() + i, sizeof p);
    std::memcpy(&q, b.data() + i, sizeof q);
    if (std::memcmp(&p, &q, sizeof p) && !(std::isnan(p) && std::isnan(q))) return false;
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fuzz;
  Source s(data, size);
  const int64_t voxels = s.number(0, 3000), tissues = s.number(1, dal::kMostTissues);
  const Style style = draw_style(s);
  const bool with_evidence = s.coin();
  Volume evidence(s, (1 + 2 * tissues) * voxels, dal::DType::f32, Style::mild);
  Volume output(s, (tissues + 1) * voxels, dal::DType::f32, style);
  Buffer mask(voxels, s.number(0, 3));
  fill_mask(s, mask.as<uint8_t>(), voxels);
  const auto* const inside = mask.as<uint8_t>();
  const auto* const logits = static_cast<const float*>(output.data());
  everywhere(
      [&](int threads) {
        Buffer p(4 * tissues * voxels), fluid(4 * voxels), sigmoid(4 * voxels);
        const float* const seen = with_evidence ? static_cast<const float*>(evidence.data()) : nullptr;
        DAL_DISPATCH(tissue_probabilities, seen, logits, inside, tissues, voxels, dal::CombineSettings(),
                     nullptr, p.as<float>(), fluid.as<float>(), threads);
        DAL_DISPATCH(masked_sigmoid, logits, inside, sigmoid.as<float>(), voxels, threads);
        for (int64_t i = 0; i < voxels; ++i) {
          double total = 0;
          for (int64_t k = 0; k < tissues; ++k) total += double(p.as<float>()[k * voxels + i]);
          if (!inside[i] && !(total == 0 && sigmoid.as<float>()[i] == 0)) fail("outside the mask");
          if (inside[i] && style != Style::special && !(std::abs(total - 1) < 1e-5)) fail("their sum");
        }
        Bytes all = p.bytes();
        append(all, fluid);
        append(all, sigmoid);
        return all;
      },
      alike);
  return 0;
}
