// The words for a brain that is refused; the reasons are those of dal_fast/screening/brain_verdict.py.
#pragma once
#include "chain/brain.h"

namespace dal {

// Throws Failure (brain-not-found) unless the brain is taken. ml: its volume.
void check_verdict(BrainVerdict verdict, const BrainFound& found, double ml);

}  // namespace dal
