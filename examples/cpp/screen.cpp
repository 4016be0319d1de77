// Screens one brain and prints its score, as examples/c/screen.c, with objects that close themselves.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <vector>

#include "dal_fast.hpp"

namespace {

template <class T>
std::vector<T> read_file(const char* path, size_t count) {
  std::vector<T> values(count);
  std::ifstream file(path, std::ios::binary);
  if (!file.read(reinterpret_cast<char*>(values.data()), std::streamsize(count * sizeof(T))) ||
      file.get() != std::ifstream::traits_type::eof())
    throw std::runtime_error(std::string(path) + " does not hold as many voxels as the sides say");
  return values;
}

int screen(char** words) {
  auto scan = dal_fast::sized<dal_image>();
  scan.dtype = DAL_F32;
  size_t voxels = 1;
  for (int axis = 0; axis < 3; ++axis) {
    scan.shape[axis] = std::atol(words[5 + axis]);
    scan.affine[5 * axis] = std::atof(words[8]);
    voxels *= size_t(scan.shape[axis]);
  }
  scan.affine[15] = 1;
  dal_image mask = scan;
  mask.dtype = DAL_U8;
  const auto values = read_file<float>(words[3], voxels);
  const auto brain = read_file<unsigned char>(words[4], voxels);
  scan.data = values.data();
  mask.data = brain.data();

  auto options = dal_fast::sized<dal_options>();
  options.engine_path = words[2];
  const dal_fast::Engine engine(words[1], options);
  dal_fast::Session session(engine);
  auto request = dal_fast::sized<dal_request>();
  request.scan = &scan;
  request.mask = &mask;
  const dal_summary found = session.run(request);
  std::printf("score %.6f\nregions %d\n", found.score, found.regions);
  return 0;
}

}  // namespace

int main(int count, char** words) try {
  if (count == 9) return screen(words);
  std::fprintf(stderr, "usage: screen BUNDLE ENGINE SCAN MASK I J K MILLIMETRES\n");
  return 2;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
