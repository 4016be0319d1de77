// Runs one op once, on one thread, on the path with AVX2: COUNT OP. callgrind counts the instructions of
// `measured`; see benchmarks/instructions.py. Without OP it lists the ops.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "canny3d/canny3d.h"
#include "components3d/components3d.h"
#include "median3d/median3d.h"
#include "onehot/onehot.h"
#include "ssim_l1/ssim_l1.h"
#include "tfce3d/tfce3d.h"
#include "voxel_metrics/voxel_metrics.h"

extern "C" __attribute__((noinline)) void measured(const std::function<void()>& call) {
  call();
  asm volatile("" ::: "memory");  // not a tail call: callgrind must see the return
}

namespace {

using namespace dal;
namespace path = dal::avx2;

constexpr int64_t kDepth = 40, kHeight = 45, kWidth = 52, kVoxels = kDepth * kHeight * kWidth;
constexpr DType kType = DType::f32;

// The same on every machine: no library's random numbers.
float noise(uint64_t i) {
  uint64_t z = (i + 1) * 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  return static_cast<float>(z >> 40) * 0x1p-24f;
}

std::vector<float> volume(int64_t channels, uint64_t seed) {
  std::vector<float> v(static_cast<size_t>(channels * kVoxels));
  for (size_t i = 0; i < v.size(); ++i) {
    const auto x = static_cast<float>(i % kWidth), y = static_cast<float>(i / kWidth % kHeight);
    v[i] = 0.5f + 0.3f * std::sin(0.2f * x + static_cast<float>(seed)) * std::sin(0.15f * y) +
           0.1f * noise(i + seed * v.size());
  }
  return v;
}

std::vector<uint8_t> above(const std::vector<float>& v, float threshold) {
  std::vector<uint8_t> m;
  for (const float a : v) m.push_back(a > threshold);
  return m;
}

char* scratch(int64_t bytes) {
  void* p = std::aligned_alloc(64, static_cast<size_t>((bytes + 127) / 64 * 64));
  std::memset(p, 0, static_cast<size_t>(bytes));
  return static_cast<char*>(p);
}

void ssim(bool loss) {
  const std::vector<float> x = volume(1, 1), y = volume(1, 2);
  std::vector<double> w;
  for (int i = 0; i <= 5; ++i) w.push_back(std::exp(-i * i / 4.5) / 3.7599);
  SsimProblem p{1, kDepth, kHeight, kWidth, w.data(), 5, 1e-4, 9e-4, kType, nullptr};
  p.workspace = scratch(path::ssim_workspace(p, 1));
  char *out = scratch(4 * kVoxels), *other = scratch(4 * kVoxels);
  char* fields = scratch(kDepth * kHeight * 4 * ssim_padded(kWidth) * 4);
  double sums[2];
  measured([&] {
    if (!loss) return path::ssim_map(x.data(), y.data(), out, true, p, 1);
    path::ssim_sums(x.data(), y.data(), sums, fields, p, 1);
    path::ssim_backward(x.data(), y.data(), fields, nullptr, -0.5, 0.5, out, other, p, 1);
  });
}

void canny(bool of_logits) {
  const std::vector<float> x = volume(of_logits ? 3 : 1, 3);
  const std::vector<uint8_t> mask = above(volume(1, 4), 0.4f);
  const double levels[] = {0.29, 0.48, 0.72};
  const CannyInput input{
      x.data(), of_logits ? levels : nullptr, mask.data(), 1, of_logits ? 3 : 1, kDepth, kHeight, kWidth,
      kType};
  std::vector<double> taps;
  for (int i = 0; i <= 4; ++i) taps.push_back(std::exp(-0.5 * i * i));
  const CannyParameters parameters{taps.data(), 4, 0.02, 0.04};
  char *workspace = scratch(path::canny3d_workspace(input, 4, 1)), *edges = scratch(kVoxels);
  measured([&] { path::canny3d(input, parameters, workspace, reinterpret_cast<uint8_t*>(edges), 1); });
}

void onehot(bool image) {
  const std::vector<float> x = volume(3, 5);
  const std::vector<uint8_t> mask = above(volume(1, 6), 0.4f);
  const double levels[] = {0.29, 0.48, 0.72};
  char* out = scratch(4 * kVoxels * 3);
  measured([&] {
    path::onehot_forward(x.data(), image ? levels : nullptr, image ? mask.data() : nullptr, out,
                         {1, 3, kVoxels}, kType, 1);
  });
}

void median(int size) {
  const std::vector<float> x = volume(1, 7);
  const Median3dShape shape{1, 1, kDepth, kHeight, kWidth, size};
  char *workspace = scratch(path::median3d_workspace(shape, kType, 1)), *out = scratch(4 * kVoxels);
  measured([&] { path::median3d(x.data(), nullptr, out, workspace, shape, kType, 1); });
}

void components(bool small) {
  const std::vector<uint8_t> mask = above(volume(1, 8), 0.7f);
  const Components3dShape shape{1, kDepth, kHeight, kWidth, 26};
  char *workspace = scratch(path::components3d_workspace(shape, 1)), *out = scratch(4 * kVoxels);
  measured([&] {
    if (small)
      return path::remove_small(mask.data(), reinterpret_cast<uint8_t*>(out), workspace, shape, 30, 1);
    path::components3d(mask.data(), reinterpret_cast<int32_t*>(out), workspace, shape, 1);
  });
}

void enhance() {
  std::vector<float> x = volume(1, 11);
  for (float& value : x) value -= 0.5f;  // about half of it positive
  const Tfce3dProblem p{1, kDepth, kHeight, kWidth, 26, 0.5, 2};
  char *workspace = scratch(path::tfce3d_workspace(p, kType, 1)), *out = scratch(4 * kVoxels);
  measured([&] { path::tfce3d(x.data(), nullptr, out, workspace, p, kType, 1); });
}

void metrics() {
  const std::vector<float> score = volume(1, 9);
  const std::vector<uint8_t> lesion = above(volume(1, 10), 0.8f);
  std::vector<uint8_t> pages(kScorePages);
  std::vector<int32_t> base(kScorePages);
  constexpr int kShift = 10;
  int64_t nans, bins = 0;
  path::score_pages(score.data(), nullptr, kVoxels, pages.data(), &nans, kType, 1);
  for (size_t i = 0; i < base.size(); ++i) {
    base[i] = pages[i] ? static_cast<int32_t>(bins) : -1;
    if (pages[i]) bins += 1 << (16 - kShift);
  }
  std::vector<int64_t> counts(static_cast<size_t>(2 * bins)), span(counts);
  char* workspace = scratch(path::score_histogram_workspace(bins, 1));
  measured([&] {
    path::score_pages(score.data(), nullptr, kVoxels, pages.data(), &nans, kType, 1);
    path::score_histogram(score.data(), lesion.data(), nullptr, kVoxels, {base.data(), kShift, bins},
                          int64_t(1) << 31, workspace, counts.data(), span.data(), kType, 1);
  });
}

const std::map<std::string, std::function<void()>> kOps = {
    {"hybrid_score", [] { ssim(false); }},
    {"l1_ssim_loss", [] { ssim(true); }},
    {"canny3d", [] { canny(false); }},
    {"anatomy_edges", [] { canny(true); }},
    {"onehot_ste", [] { onehot(false); }},
    {"anatomy_image", [] { onehot(true); }},
    {"median3d_3", [] { median(3); }},
    {"median3d_5", [] { median(5); }},
    {"components3d", [] { components(false); }},
    {"remove_small", [] { components(true); }},
    {"tfce3d", enhance},
    {"voxel_metrics", metrics},
};

}  // namespace

int main(int count, char** words) {
  if (count == 1) {
    for (const auto& op : kOps) std::puts(op.first.c_str());
    return 0;
  }
  const auto op = kOps.find(words[1]);
  if (op == kOps.end()) return std::fprintf(stderr, "no such op: %s\n", words[1]), 2;
  op->second();
  return 0;
}
