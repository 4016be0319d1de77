#include "capi/verdict.h"

#include <cstdio>
#include <cstring>

#include "capi/dal_fast.h"
#include "capi/failure.h"

namespace dal {
namespace {

// "; " and what is unusual about a shape, or nothing (shape_clauses of dal_fast/imaging/brain_shape.py).
struct Oddities {
  char words[300] = "";
  explicit Oddities(const BrainFound& found) {
    const auto add = [&](uint32_t oddity, const char* clause) {
      const size_t used = std::strlen(words);
      if (found.unusual & oddity) std::snprintf(words + used, sizeof words - used, "; %s", clause);
    };
    char halves[64];
    std::snprintf(halves, sizeof halves, "its halves differ (Dice %.2f when mirrored)", found.symmetry);
    add(kOddWidth, "its width and length are not a brain's");
    add(kOddHeight, "its height and length are not a brain's");
    add(kOddHalves, halves);
    add(kUpsideDown, "its end is above, as if upside down");
    add(kTurnedRound, "it is wider in front than behind, as if turned round");
  }
};

}  // namespace

void check_verdict(BrainVerdict verdict, const BrainFound& found, double ml) {
  const char* const advice = "If it shows a head, check the affine and its space, or give a mask";
  switch (verdict) {
    case BrainVerdict::taken:
      return;
    case BrainVerdict::none:
      fail(DAL_INPUT, "brain-not-found", "no brain was found: no voxel looks like one. %s", advice);
    case BrainVerdict::volume:
      fail(DAL_INPUT, "brain-not-found", "no brain was found: what was found has %.0f mL. %s", ml, advice);
    case BrainVerdict::round:
      fail(DAL_INPUT, "brain-not-found",
           "no brain was found: what was found is rounder than a brain (sphericity %.2f), as a phantom is. "
           "%s",
           found.sphericity, advice);
    default:
      fail(DAL_INPUT, "brain-not-found",
           "no brain was found: what was found is no clear brain (confidence %.2f, Dice with the mirrored "
           "run %.2f, sphericity %.2f%s). %s",
           found.confidence, found.agreement, found.sphericity, Oddities(found).words, advice);
  }
}

Normalised checked(const Normalised& found) {
  switch (found.signal) {
    case Signal::there:
      return found;
    case Signal::none:
      fail(DAL_INPUT, "no-signal", "the scan has no signal inside the brain mask; is it the right mask?");
    case Signal::half_is_none:
      fail(DAL_INPUT, "no-signal",
           "at least half of the brain has no signal; are mask and scan those of one brain?");
    case Signal::too_small:
      fail(DAL_INPUT, "no-signal",
           "the brain's median intensity is %.2g, less than float32 holds; multiply the intensities, for "
           "example by setting slope to 1",
           found.median);
  }
  fail(DAL_INTERNAL, "unexpected", "normalise returned something unknown");
}

}  // namespace dal
