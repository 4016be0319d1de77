// The words for a brain that is refused, and for one without signal; the reasons are those of
// dal_fast/screening/brain_verdict.py and dal_fast/imaging/normalise.py.
#pragma once
#include "chain/brain.h"
#include "chain/normalise.h"

namespace dal {

// Throws Failure (brain-not-found) unless the brain is taken. ml: its volume.
void check_verdict(BrainVerdict verdict, const BrainFound& found, double ml);

// What normalise found, or throws Failure (no-signal).
Normalised checked(const Normalised& found);

}  // namespace dal
