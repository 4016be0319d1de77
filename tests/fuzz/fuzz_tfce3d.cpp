// Bits are equal on every path and for every number of threads; small volumes of doubles equal a sum over
// their levels, whose components are flooded.
#include <algorithm>

#include "fuzz.h"
#include "tfce3d/tfce3d.h"

namespace {

using namespace fuzz;
using dal::Tfce3dProblem;

// The components of {v : x(v) >= level} in one volume: add(voxels of a component) for each.
template <class Add>
void flood(const std::vector<double>& x, const Tfce3dProblem& p, double level, Add add) {
  const int64_t reach = p.connectivity == 6 ? 1 : p.connectivity == 18 ? 2 : 3;
  std::vector<bool> seen(x.size());
  for (size_t start = 0; start < x.size(); ++start) {
    if (seen[start] || x[start] < level) continue;
    std::vector<size_t> component{start};
    seen[start] = true;
    for (size_t next = 0; next < component.size(); ++next) {
      const int64_t at = int64_t(component[next]), z = at / (p.height * p.width),
                    y = at / p.width % p.height, i = at % p.width;
      for (int64_t move = 0; move < 27; ++move) {
        const int64_t dz = move / 9 - 1, dy = move / 3 % 3 - 1, di = move % 3 - 1;
        const bool inside = z + dz >= 0 && z + dz < p.depth && y + dy >= 0 && y + dy < p.height &&
                            i + di >= 0 && i + di < p.width;
        if (!inside || std::abs(dz) + std::abs(dy) + std::abs(di) > reach) continue;
        const size_t other = size_t(((z + dz) * p.height + y + dy) * p.width + i + di);
        if (seen[other] || x[other] < level) continue;
        seen[other] = true;
        component.push_back(other);
      }
    }
    add(component);
  }
}

// x: one volume, 0 in the background.
std::vector<double> level_by_level(const std::vector<double>& x, const Tfce3dProblem& p) {
  std::vector<double> levels(x), out(x.size());
  std::sort(levels.begin(), levels.end());
  levels.erase(std::unique(levels.begin(), levels.end()), levels.end());
  const double power = p.height_power + 1;
  double below = 0;
  for (const double level : levels) {
    if (level <= 0) continue;
    const double rise = (std::pow(level, power) - std::pow(below, power)) / power;
    flood(x, p, level, [&](const std::vector<size_t>& component) {
      for (const size_t v : component) out[v] += std::pow(double(component.size()), p.extent_power) * rise;
    });
    below = level;
  }
  return out;
}

void compare(const double* x, const uint8_t* mask, const Tfce3dProblem& p, const Bytes& result) {
  const auto voxels = size_t(p.depth * p.height * p.width);
  std::vector<double> got(result.size() / 8);
  std::memcpy(got.data(), result.data(), result.size());
  for (int64_t volume = 0; volume < p.volumes; ++volume) {
    const size_t from = size_t(volume) * voxels;
    std::vector<double> values(voxels);
    for (size_t i = 0; i < voxels; ++i)
      values[i] = x[from + i] > 0 && (!mask || mask[from + i]) ? x[from + i] : 0;
    const std::vector<double> want = level_by_level(values, p);
    for (size_t i = 0; i < voxels; ++i)
      if (!(std::abs(got[from + i] - want[i]) <= 1e-10 * want[i])) fail("not the sum over the levels");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Source s(data, size);
  constexpr int connectivities[] = {6, 18, 26};
  constexpr double extents[] = {0, 0.25, 0.5, 0.75, 1, 1.5, 2, 0.37};
  constexpr double heights[] = {-0.5, 0, 0.5, 1, 2, 1.3};
  const bool small = s.coin();
  const dal::DType dtype = small ? dal::DType::f64 : draw_dtype(s);
  const Style style = small ? (s.coin() ? Style::mild : Style::ties) : draw_style(s);
  const Tfce3dProblem p{s.number(0, 4),
                        s.number(1, small ? 5 : 20),
                        s.number(1, small ? 5 : 20),
                        s.number(1, small ? 12 : 90),
                        connectivities[s.number(0, 2)],
                        extents[s.number(0, 7)],
                        heights[s.number(0, 5)]};
  const int64_t voxels = p.volumes * p.depth * p.height * p.width;
  Volume x(s, voxels, dtype, style);
  Mask mask(s, voxels);
  const int64_t offset = s.number(0, 3) * size_of(dtype), unaligned = s.number(0, 63);
  const Bytes result = everywhere(
      [&](int threads) {
        Buffer out(voxels * size_of(dtype), offset);
        Buffer workspace(DAL_DISPATCH(tfce3d_workspace, p, dtype, threads), unaligned);
        DAL_DISPATCH(tfce3d, x.data(), mask.data(), out.as<void>(), workspace.as<void>(), p, dtype,
                     threads);
        return out.bytes();
      },
      equal);
  if (small && voxels) compare(static_cast<const double*>(x.data()), mask.data(), p, result);
  return 0;
}
