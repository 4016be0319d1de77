// Counts and values of any rank are those of a sort, on every path and for every number of threads.
#include <algorithm>

#include "fuzz.h"
#include "selection/selection.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fuzz;
  Source s(data, size);
  const int64_t n = s.number(0, 9) ? s.number(0, 300) : s.number(0, 65535) * 3;
  const Style style = draw_style(s);
  Volume x(s, n, dal::DType::f32, style == Style::special ? Style::wild : style);
  Mask drawn(s, n);
  Buffer all(n);
  const uint8_t* const mask = drawn.there ? drawn.data() : all.as<uint8_t>();
  const bool positive = s.coin();
  std::vector<float> values;
  int64_t inside = 0, negative = 0, above = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float value = static_cast<const float*>(x.data())[i];
    if (!mask[i]) continue;
    ++inside, negative += value < 0, above += value > 0;
    if (!positive || value > 0) values.push_back(value);
  }
  std::sort(values.begin(), values.end());
  const auto most = static_cast<int64_t>(values.size());
  const int64_t k = most ? static_cast<int64_t>(s.share() * double(most - 1)) : 0;
  everywhere(
      [&](int threads) {
        const auto* const from = static_cast<const float*>(x.data());
        const dal::SelectionCounts got = DAL_DISPATCH(selection_counts, from, mask, n, threads);
        if (got.inside != inside || got.negative != negative || got.positive != above) fail("the counts");
        if (!most) return Bytes();
        Buffer workspace(dal::selection_workspace(threads));
        const float kth =
            DAL_DISPATCH(selection_kth, from, mask, n, k, positive, workspace.as<void>(), threads);
        if (!(kth == values[size_t(k)])) fail("the value of a rank");
        Bytes bytes(4);
        std::memcpy(bytes.data(), &kth, 4);
        return bytes;
      },
      equal);
  return 0;
}
