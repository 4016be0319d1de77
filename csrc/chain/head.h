// A whole head in the fixed volume that the brain extraction network sees (dal_fast/imaging/head_grid.py).
//
// Affines are 4 x 4, row by row, voxel index to world millimetres, as (right, anterior, superior).
//
//   cover_head      the grid over the whole scan, along the scan's own axes; the caller resamples onto it
//   place_head      the network's part of it, normalised to [0, 1.5]
//   distance_to_faces, mirror_head, move_head
#pragma once
#include "chain/shape.h"

namespace dal {

struct HeadCover {
  int64_t sides[3];
  double affine[16];
};

// scan_shape: (I, J, K) of a scan whose affine is not singular; voxel_mm > 0.
HeadCover cover_head(const int64_t scan_shape[3], const double scan_affine[16], double voxel_mm);

int64_t place_head_workspace(const HeadCover& cover, Shape shape);  // bytes

// whole: the scan on the grid of `cover`, (D, H, W). out: `shape`, 0 outside the scan; `affine`: its grid.
void place_head(const float* whole, const HeadCover& cover, double voxel_mm, Shape shape, float* out,
                double affine[16], void* workspace, int threads);

// out: millimetres from every voxel of a grid to the scan's nearest face, positive in the scan.
void distance_to_faces(const double affine[16], Shape shape, const int64_t scan_shape[3],
                       const double scan_affine[16], float* out);

// out = x with its first axis turned round; not the same memory.
void mirror_head(const float* x, float* out, Shape shape);

// out = x moved on by `step` voxels along every axis, what leaves at a face coming in at the other; not the
// same memory.
void move_head(const float* x, float* out, Shape shape, int step);

}  // namespace dal
