// The caller's volumes: a scan or a mask in any layout to packed memory, and results back.
//
// Inside the library a volume on the scan's grid is packed with i fastest, as scans are stored, and world
// coordinates run right, anterior, superior.
#pragma once
#include <cstdint>

#include "capi/dal_fast.h"

namespace dal {

struct ScanGrid {
  int64_t shape[3];
  double affine[16];  // voxel index to millimetres
  int64_t voxels() const { return shape[0] * shape[1] * shape[2]; }
  double voxel_mm(int axis) const;
};

// Refuses what no scan is: sizes, an affine, strides and pointers that cannot be used. Throws Failure.
ScanGrid checked_grid(const dal_image& image, const char* name);

// Values of a scan, `grid.voxels()` of them. Returns how many were NaN or infinite and are now 0; without
// `replace` any is refused, as is a scan without two different values. `finds`: kFinds values a slice.
int64_t read_scan(const dal_image& image, const ScanGrid& grid, bool replace, float* values, double* finds,
                  int threads);
constexpr int kFinds = 3;

// 1 where the mask is above 0.5, else 0. Returns the number of voxels. Throws Failure for a mask of another
// grid or without a voxel.
int64_t read_mask(const dal_image& image, const ScanGrid& grid, uint8_t* inside, double* finds,
                  int threads);

// Throws Failure for an output that cannot be written.
void check_output(const dal_output& output, const ScanGrid& grid);
void write_output(const dal_output& output, const ScanGrid& grid, const void* values, int threads);
// Its memory where that is laid out as volumes are inside the library, else null.
void* packed_memory(const dal_output& output, const ScanGrid& grid);

}  // namespace dal
