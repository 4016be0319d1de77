#include "capi/run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "capi/buffers.h"
#include "capi/failure.h"
#include "capi/structs.h"
#include "chain/anomaly.h"
#include "chain/contrast.h"
#include "chain/evidence.h"
#include "chain/grid.h"
#include "chain/normalise.h"
#include "chain/topmean.h"
#include "nearby/nearby.h"
#include "parallel.h"
#include "recouple/recouple.h"
#include "spread/spread.h"
#include "tissue/tissue.h"

namespace dal {
namespace {

constexpr float kCeiling = 1;         // where residuals are cut off: twice the brain's median
constexpr int64_t kSpan = 1 << 16;    // voxels a task
constexpr int64_t kMultiple = 16;     // sides of the model's grid
constexpr double kMarginMm = 6;
constexpr int64_t kNetworkMargin = 3;  // voxels around the brain

int64_t rounded_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

template <class F>
void each(int64_t count, int threads, F&& body) {
  parallel_for((count + kSpan - 1) / kSpan, threads, [&](int64_t task, int) {
    const int64_t end = std::min(count, (task + 1) * kSpan);
    for (int64_t i = task * kSpan; i < end; ++i) body(i);
  });
}

class Clock {
 public:
  explicit Clock(double* seconds) : seconds_(seconds), start_(Now::now()), last_(start_) {}
  void lap(int stage) {
    const auto now = Now::now();
    seconds_[stage] += std::chrono::duration<double>(now - last_).count();
    last_ = now;
  }
  void stop() { seconds_[DAL_SECONDS_TOTAL] = std::chrono::duration<double>(Now::now() - start_).count(); }

 private:
  using Now = std::chrono::steady_clock;
  double* const seconds_;
  const Now::time_point start_;
  Now::time_point last_;
};

// One scan: the stages of Screener.screen_scan (dal_fast/screening/screener.py), in their order.
class Run {
 public:
  Run(const dal_engine& engine, engine::Request* const* requests, const Watch& watch, double* seconds)
      : settings_(engine.settings),
        requests_(requests),
        watch_(watch),
        threads_(engine.threads),
        clock_(seconds) {}

  dal_summary operator()(const dal_image& scan, const dal_image* mask, const dal_request& request,
                         const Limits& limits, RunMemory memory, Regions& regions);

 private:
  void done(int stage) {
    clock_.lap(stage);
    watch_.check();
  }
  void to_model_grid();
  void networks();
  void recouple();
  void score(int32_t contrast);
  void to_scan_grid();

  const Settings& settings_;
  engine::Request* const* const requests_;
  const Watch& watch_;
  const int threads_;
  Clock clock_;
};

}  // namespace
}  // namespace dal
