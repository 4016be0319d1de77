/* Screens one brain with the C library and prints its score.
 *
 *   cc screen.c $(pkg-config --cflags --libs dal_fast) -o screen
 *   ./screen BUNDLE ENGINE SCAN MASK 160 192 160 1.0
 *
 * SCAN holds float32 and MASK bytes, without a header: the first of the three sides runs fastest, from left to
 * right, the second to the front, the third upwards. ENGINE is the folder of the openvino package. */
#include <dal_fast.h>
#include <stdio.h>
#include <stdlib.h>

static void *read_file(const char *path, size_t bytes) {
  void *data = malloc(bytes);
  FILE *file = fopen(path, "rb");
  if (!data || !file || fread(data, 1, bytes, file) != bytes || fgetc(file) != EOF) {
    fprintf(stderr, "%s does not hold %zu bytes, as the sides say\n", path, bytes);
    exit(1);
  }
  fclose(file);
  return data;
}

static int refused(const dal_error *error) {
  fprintf(stderr, "%s: %s\n", error->code, error->message);
  return 1;
}

int main(int count, char **words) {
  dal_engine *engine;
  dal_session *session;
  dal_error error = {sizeof error};
  dal_options options = {sizeof options};
  dal_image scan = {sizeof scan}, mask;
  dal_request request = {sizeof request};
  dal_summary found = {sizeof found};
  size_t voxels = 1;
  int axis;
  if (count != 9) return fprintf(stderr, "usage: screen BUNDLE ENGINE SCAN MASK I J K MILLIMETRES\n"), 2;

  scan.dtype = DAL_F32;
  for (axis = 0; axis < 3; ++axis) {
    scan.shape[axis] = atol(words[5 + axis]);
    if (scan.shape[axis] < 1) return fprintf(stderr, "a side is a whole number from 1 on, not %s\n", words[5 + axis]), 2;
    scan.affine[5 * axis] = atof(words[8]);
    voxels *= (size_t)scan.shape[axis];
  }
  scan.affine[15] = 1;
  mask = scan;
  mask.dtype = DAL_U8;
  scan.data = read_file(words[3], voxels * sizeof(float));
  mask.data = read_file(words[4], voxels);

  options.engine_path = words[2];
  if (dal_engine_open(words[1], &options, &engine, &error)) return refused(&error);
  if (dal_session_open(engine, NULL, &session, &error)) return refused(&error);
  request.scan = &scan;
  request.mask = &mask;
  if (dal_run(session, &request, &found, &error)) return refused(&error);
  printf("score %.6f\nregions %d\n", found.score, found.regions);
  dal_session_close(session);
  dal_engine_close(engine);
  free((void *)scan.data);
  free((void *)mask.data);
  return 0;
}
