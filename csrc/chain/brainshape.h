// Whether a mask has the shape of a brain that lies as its header says (dal_fast/imaging/brain_shape.py and
// sphericity of dal_fast/imaging/mask.py). Masks: 0 or 1, axes right, anterior, superior.
#pragma once
#include "chain/shape.h"

namespace dal {

// pi^(1/3) (6 V)^(2/3) / A; A is the area of the faces between inside and outside, over 1.5.
double sphericity(const uint8_t* mask, double voxel_mm, Shape shape);

int64_t brain_shape_workspace(Shape shape);  // bytes

// BrainOddity bits; symmetry: Dice of the mask with its mirror image across the best plane. An empty mask
// is usual.
uint32_t unusual_shape(const uint8_t* mask, Shape shape, void* workspace, double& symmetry);

}  // namespace dal
