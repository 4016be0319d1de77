// What happens to a normalised brain, from the networks to the anomaly map: the middle of
// Screener.screen_scan (dal_fast/screening/screener.py).
#pragma once
#include <cstdint>

#include "capi/buffers.h"
#include "capi/settings.h"
#include "chain/anomaly.h"
#include "chain/chunks.h"
#include "chain/contrast.h"
#include "chain/crop.h"
#include "engine/engine.h"

namespace dal {

class Brain {
 public:
  struct Networks {
    engine::Request *tissue, *residual_head;
  };

  // The model's buffers hold image, mask and view.
  Brain(const Settings& settings, const Networks& networks, const Watch& watch, const ModelBuffers& model,
        Shape model_shape, const BoxBuffers& box, const Crop& crop, int threads)
      : settings_(settings),
        networks_(networks),
        watch_(watch),
        m_(model),
        model_(model_shape),
        b_(box),
        crop_(crop),
        box_(crop.box),
        threads_(threads) {}

  // In this order.
  void find_tissue() const;
  void recouple() const;
  void find_abnormal() const;
  LooksLike look() const;
  // The anomaly map, and the scan's one number.
  SignsWeighed score(Contrast contrast, double* score) const;

 private:
  void add_place() const;
  Calibrated laid_out(Contrast contrast) const;

  const Settings& settings_;
  const Networks networks_;
  const Watch& watch_;
  const ModelBuffers& m_;
  const Shape model_;
  const BoxBuffers& b_;
  const Crop& crop_;
  const Shape box_;
  const int threads_;
};

}  // namespace dal
