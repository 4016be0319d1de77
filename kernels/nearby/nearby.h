// The highest value inside a mask among a voxel and its 26 neighbours.
//
//   out(v) = max(lowest, max over u with |u - v|_inf <= 1 and u in the mask of sign x(u))
//
// With sign = -1 it is minus the lowest value nearby.
#pragma once
#include <cstdint>

#include "chain/shape.h"
#include "isa.h"

namespace dal {

constexpr float kNothingNearby = -1e6f;  // where no voxel nearby lies in the mask

DAL_DECLARE(int64_t highest_nearby_workspace(Shape shape, int threads))  // bytes

// x, out: (depth, height, width), not the same memory; mask: the same shape; sign: 1 or -1.
DAL_DECLARE(void highest_nearby(const float* x, const uint8_t* mask, float sign, float* out, Shape shape,
                                void* workspace, int threads))

// The same of `volumes` of that shape on a GPU: device pointers, the caller's stream; no workspace, and
// neither allocates nor synchronises. mask: one for each volume.
namespace cuda {
void highest_nearby(const float* x, const uint8_t* mask, float sign, float* out, int64_t volumes,
                    Shape shape, void* stream);
}  // namespace cuda

}  // namespace dal
