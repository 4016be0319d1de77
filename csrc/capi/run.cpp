#include "capi/run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "capi/brain.h"
#include "capi/failure.h"
#include "capi/structs.h"
#include "capi/verdict.h"
#include "chain/brain.h"
#include "chain/grid.h"
#include "chain/head.h"
#include "chain/normalise.h"
#include "checkpoint.h"

namespace dal {
namespace {

constexpr double kLargestMaskMl = 3500;  // LARGEST_MASK_ML of dal_fast/imaging/mask.py
constexpr int64_t kNetworkMargin = 3;  // voxels around the brain, of what the networks see
constexpr int kMostResamplers = 32;  // threads: each needs megabytes, which a session takes beforehand

int resamplers_of(int threads) { return std::min(threads, kMostResamplers); }

int64_t rounded_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

Shape in_memory(const int64_t shape[3]) { return {shape[2], shape[1], shape[0]}; }

class Clock {
 public:
  explicit Clock(double* seconds) : seconds_(seconds), start_(Now::now()), last_(start_) {}
  void lap(int stage) {
    const auto now = Now::now();
    seconds_[stage] += std::chrono::duration<double>(now - last_).count();
    last_ = now;
    seconds_[DAL_SECONDS_TOTAL] = std::chrono::duration<double>(now - start_).count();
  }

 private:
  using Now = std::chrono::steady_clock;
  double* const seconds_;
  const Now::time_point start_;
  Now::time_point last_;
};

// One scan: the stages of Screener.screen_scan (dal_fast/screening/screener.py), in their order.
class Run {
 public:
  Run(const dal_engine& engine, engine::Request* const* requests, const dal_request& request,
      const Watch& watch, const Arena& arena, dal_summary& found, Inside& inside)
      : settings_(engine.settings),
        requests_(requests),
        request_(request),
        watch_(watch),
        arena_(arena),
        threads_(engine.threads),
        resamplers_(resamplers_of(threads_)),
        image_(taken(request.scan, "the scan (dal_image)")),
        grid_(checked_grid(image_, "scan")),
        shape_(in_memory(grid_.shape)),
        least_(least_voxels(voxel_ml(grid_.affine))),
        scan_(arena.place<ScanBuffers>(0, shape_)),
        kept_(scan_.bytes),
        found_(found),
        inside_(inside),
        clock_(found.seconds) {
    take_request();
  }

  void run(Until until, Regions& regions) {
    read();
    if (request_.mask)
      read_given_mask();
    else
      extract();
    if (until == Until::regions) {
      screen();
      find_regions(regions);
    }
    write(DAL_ANOMALY_MAP, scan_.map);
    write(DAL_ANOMALY_MASK, scan_.above);
    write(DAL_BRAIN_MASK, scan_.brain);
    done(DAL_SECONDS_REGIONS);
    found_.struct_size = sizeof found_;
  }

 private:
  void done(int stage) {
    clock_.lap(stage);
    watch_.check();
  }
  dal_output output(int32_t index) const {
    const uint32_t size = size_of(request_.outputs, "dal_output");
    const char* const place = reinterpret_cast<const char*>(request_.outputs) + size_t(index) * size;
    return taken(reinterpret_cast<const dal_output*>(place), "an output (dal_output)");
  }
  bool wanted(int32_t what) const {
    for (int32_t i = 0; i < request_.outputs_count; ++i)
      if (output(i).what == what) return true;
    return false;
  }
  void take_request();
  void read();
  void read_given_mask();
  void extract();
  void screen();
  void find_regions(Regions& regions);
  void show(const ResamplePlan& back, const float* volume, void* stage) const;
  void write(int32_t what, const void* values) const;

  // As volumes on the scan's grid lie in memory here.
  SourceGrid source() const {
    SourceGrid source{{}, {1, grid_.shape[0], grid_.shape[0] * grid_.shape[1]}, {}};
    std::copy(grid_.shape, grid_.shape + 3, source.size);
    std::copy(grid_.affine, grid_.affine + 16, source.affine);
    return source;
  }
  ResamplePlan from_scan(Shape shape, const double affine[16]) const {
    return plan_resampling(source(), shape, affine, false);
  }
  ResamplePlan to_scan(Shape shape, const double affine[16]) const;

  const Settings& settings_;
  engine::Request* const* const requests_;
  const dal_request& request_;
  const Watch& watch_;
  const Arena& arena_;
  const int threads_, resamplers_;
  const dal_image image_;
  const ScanGrid grid_;
  const Shape shape_;
  const int64_t least_;
  ScanBuffers scan_;
  int64_t kept_;  // bytes of the session's memory that hold what is still wanted
  dal_summary& found_;
  Inside& inside_;
  Clock clock_;
};

// Packed outputs hold what they are for all the while: the session's memory is not touched for it.
void Run::take_request() {
  if (request_.contrast < DAL_GUESS || request_.contrast > DAL_FLAIR)
    fail(DAL_ARGUMENT, "value", "there is no contrast %d", request_.contrast);
  using Map = std::numeric_limits<float>;
  if (request_.threshold != 0 && !(request_.threshold >= Map::min() && request_.threshold <= Map::max()))
    fail(DAL_ARGUMENT, "value", "the threshold must be %.2g to %.2g, as a map's float32 can be, not %g",
         double(Map::min()), double(Map::max()), request_.threshold);
  if (request_.flags & ~uint32_t(DAL_REPLACE_NONFINITE))
    fail(DAL_UNSUPPORTED, "value", "flags has bits that this library does not know: %#x", request_.flags);
  if (request_.outputs_count < 0 || request_.outputs_count > 64)
    fail(DAL_ARGUMENT, "value", "outputs_count is %d", request_.outputs_count);
  if (request_.outputs_count && !request_.outputs) fail(DAL_ARGUMENT, "value", "outputs is NULL");
  for (int32_t i = 0; i < request_.outputs_count; ++i) {
    const dal_output to = output(i);
    check_output(to, grid_);
    void* const memory = packed_memory(to, grid_);
    if (memory && to.what == DAL_ANOMALY_MAP) scan_.map = scan_.scan = static_cast<float*>(memory);
    if (memory && to.what == DAL_ANOMALY_MASK) scan_.above = static_cast<uint8_t*>(memory);
    if (memory && to.what == DAL_BRAIN_MASK) scan_.brain = static_cast<uint8_t*>(memory);
  }
}

void Run::read() {
  const bool replace = request_.flags & DAL_REPLACE_NONFINITE;
  found_.nonfinite = read_scan(image_, grid_, replace, scan_.scan, scan_.finds, threads_);
  done(DAL_SECONDS_READ);
}

void Run::read_given_mask() {
  const dal_image mask = taken(request_.mask, "the mask (dal_image)");
  const int64_t voxels = read_mask(mask, grid_, scan_.brain, scan_.finds, threads_);
  found_.brain_ml = double(voxels) * voxel_ml(grid_.affine);
  if (found_.brain_ml > kLargestMaskMl)
    fail(DAL_INPUT, "mask-too-large",
         "the mask marks %.0f mL, more than any brain has (%.0f mL at most); is it a mask of the head, or "
         "a scan?",
         found_.brain_ml, kLargestMaskMl);
  found_.brain_confidence = 1;
  done(DAL_SECONDS_READ);
}

// Of a volume (D, H, W) with this affine, into the scan's memory (k, j, i).
ResamplePlan Run::to_scan(Shape shape, const double affine[16]) const {
  SourceGrid volume{
      {shape.depth, shape.height, shape.width}, {shape.height * shape.width, shape.width, 1}, {}};
  std::copy(affine, affine + 16, volume.affine);
  double turned[16];
  for (int row = 0; row < 4; ++row)
    for (int column = 0; column < 4; ++column)
      turned[4 * row + column] = grid_.affine[4 * row + (column == 3 ? 3 : 2 - column)];
  return plan_resampling(volume, shape_, turned, false);
}

// The brain mask of a head (dal_fast/screening/brain_extraction.py).
void Run::extract() {
  const double voxel_mm = settings_.brain_voxel_mm;
  const Shape seen{settings_.brain_shape[0], settings_.brain_shape[1], settings_.brain_shape[2]};
  const HeadCover cover = cover_head(grid_.shape, grid_.affine, voxel_mm);
  const Shape covered{cover.sides[0], cover.sides[1], cover.sides[2]};
  const ResamplePlan there = from_scan(covered, cover.affine);
  const int64_t workspace = resample_workspace(there, resamplers_);
  HeadBuffers b = arena_.place<HeadBuffers>(scan_.bytes, settings_, shape_, covered, workspace, threads_);
  resample(there, scan_.scan, Voxel::f32, b.whole, b.stage, resamplers_);
  checkpoint();
  double affine[16];
  place_head(b.whole, cover, voxel_mm, seen, b.head, affine, b.stage, threads_);
  checkpoint();
  const auto distances = [&](float* from, float* to) {
    const auto volume = [&](float* data) {
      return engine::Volume{data, {1, 1, seen.depth, seen.height, seen.width}};
    };
    requests_[static_cast<int>(Part::extractor)]->run(volume(from), volume(to), watch_);
    const float reach = static_cast<float>(settings_.brain_reach_mm);
    each(seen.voxels(), threads_, [&](int64_t i) { to[i] *= reach; });
  };
  mirror_head(b.head, b.altered, seen);
  distances(b.altered, b.clean);
  mirror_head(b.clean, b.second, seen);
  move_head(b.head, b.altered, seen, 1);
  distances(b.altered, b.clean);
  move_head(b.clean, b.altered, seen, -1);
  distances(b.head, b.first);
  each(seen.voxels(), threads_, [&](int64_t i) { b.first[i] = (b.first[i] + b.altered[i]) / 2.f; });
  distance_to_faces(affine, seen, grid_.shape, grid_.affine, b.faces);
  checkpoint();
  const BrainFound brain =
      brain_distance(b.first, b.second, b.faces, voxel_mm, b.clean, seen, b.stage, threads_);
  inside_.brain = brain;
  if (!brain.any) check_verdict(BrainVerdict::none, brain, 0);
  checkpoint();
  lift_distance(b.clean, seen.voxels());
  const ResamplePlan back = to_scan(seen, affine);
  const int64_t needed = resample_workspace(back, resamplers_);
  b = arena_.place<HeadBuffers>(scan_.bytes, settings_, shape_, covered, std::max(workspace, needed),
                                threads_);
  resample(back, b.clean, Voxel::f32, b.distance, b.stage, resamplers_);
  checkpoint();
  const int64_t voxels = brain_mask(b.distance, scan_.brain, shape_.voxels(), threads_);
  found_.brain_ml = double(voxels) * voxel_ml(grid_.affine);
  found_.brain_confidence = brain.confidence;
  inside_.brain_ml = found_.brain_ml;
  check_verdict(judge_brain(brain, found_.brain_ml), brain, found_.brain_ml);
  done(DAL_SECONDS_EXTRACTION);
}

// From scan and brain mask to the map and the pseudo-healthy image on the scan's grid.
void Run::screen() {
  GridSettings about;
  about.voxel_mm = settings_.voxel_mm;
  ModelGrid grid;
  if (!plan_model_grid(source(), scan_.brain, about, &grid))
    fail(DAL_INPUT, "mask-empty", "the brain mask has no voxel");
  const ResamplePlan there = from_scan(grid.shape, grid.affine), back = to_scan(grid.shape, grid.affine);
  const int64_t workspace =
      std::max(resample_workspace(there, resamplers_), resample_workspace(back, resamplers_));
  const auto m = arena_.place<ModelBuffers>(scan_.bytes, settings_, grid.shape, workspace, threads_);
  kept_ += m.kept;
  const int64_t voxels = grid.shape.voxels();
  resample(there, scan_.brain, Voxel::u8, m.x, m.stage, resamplers_);
  each(voxels, threads_, [&](int64_t i) { m.mask[i] = m.x[i] >= 0.5f; });
  checkpoint();
  inside_.shape = grid.shape;
  std::copy(grid.affine, grid.affine + 16, inside_.affine);
  inside_.image = m.image, inside_.tissue = m.p, inside_.bias = m.bias, inside_.mask = m.mask;
  resample(there, scan_.scan, Voxel::f32, m.x, m.stage, resamplers_);
  checkpoint();
  const Normalised normalised =
      checked(normalise(m.x, m.mask, NormaliseSettings(), m.image, m.view, grid.shape, m.stage, threads_));
  const Crop crop = plan_crop(m.mask, grid.shape, kNetworkMargin, settings_.stride);
  const auto b = arena_.place<BoxBuffers>(kept_, settings_, crop.box, threads_);
  done(DAL_SECONDS_MODEL_GRID);

  const Brain::Networks networks{requests_[static_cast<int>(Part::tissue)],
                                 requests_[static_cast<int>(Part::residual_head)]};
  const Brain brain(settings_, networks, watch_, m, grid.shape, b, crop, threads_);
  brain.find_tissue();
  done(DAL_SECONDS_NETWORK);
  brain.recouple();
  done(DAL_SECONDS_RECOUPLING);
  brain.find_abnormal();
  done(DAL_SECONDS_RESIDUAL_HEAD);
  const auto looks_like = static_cast<Contrast>(brain.look());
  const Contrast contrast =
      request_.contrast == DAL_GUESS ? looks_like : static_cast<Contrast>(request_.contrast - DAL_T1W);
  const SignsWeighed signs = brain.score(contrast, &found_.score);
  found_.contrast = static_cast<int32_t>(contrast) + DAL_T1W;
  found_.looks_like = static_cast<int32_t>(looks_like) + DAL_T1W;
  found_.sign = signs.shown > 0 ? DAL_BRIGHT : DAL_DARK;
  done(DAL_SECONDS_SCORE);

  if (wanted(DAL_PSEUDO_HEALTHY)) {  // written at once: the map takes its place
    const float scale = static_cast<float>(normalised.scale),
                offset = static_cast<float>(normalised.offset);
    each(voxels, threads_,
         [&](int64_t i) { m.x[i] = m.mask[i] ? m.phi[i] * m.bias[i] / scale + offset : 0.f; });
    show(back, m.x, m.stage);
    write(DAL_PSEUDO_HEALTHY, scan_.map);
    checkpoint();
  }
  show(back, m.anomaly, m.stage);
  done(DAL_SECONDS_SCAN_GRID);
}

// A volume of the model's on the scan's grid, inside the brain, where the map lies.
void Run::show(const ResamplePlan& back, const float* volume, void* stage) const {
  resample(back, volume, Voxel::f32, scan_.map, stage, resamplers_);
  each(shape_.voxels(), threads_, [&](int64_t i) {
    if (!scan_.brain[i]) scan_.map[i] = 0;
  });
}

void Run::find_regions(Regions& regions) {
  found_.threshold = request_.threshold != 0 ? request_.threshold : 1;
  const float threshold = static_cast<float>(found_.threshold);
  void* const stage = arena_.place<RegionBuffers>(kept_, shape_, least_, threads_).stage;
  anomaly_mask(scan_.map, threshold, least_, scan_.above, shape_, stage, threads_);
  checkpoint();
  const int64_t count = region_table(scan_.map, scan_.above, grid_.affine, least_, scan_.regions,
                                     kMostRegions, shape_, stage, threads_);
  regions.table = scan_.found;
  regions.count = static_cast<int32_t>(std::min(count, kMostRegions));
  const double turn = image_.space == DAL_LPS ? -1 : 1;
  for (int32_t i = 0; i < regions.count; ++i) {
    const Region& r = scan_.regions[i];
    scan_.found[i] = {r.volume_ml, r.peak, r.mean, {turn * r.centre[0], turn * r.centre[1], r.centre[2]}};
  }
  found_.regions = regions.count;
}

// Into every output that is wanted of it.
void Run::write(int32_t what, const void* values) const {
  for (int32_t i = 0; i < request_.outputs_count; ++i) {
    const dal_output to = output(i);
    if (to.what == what) write_output(to, grid_, values, threads_);
  }
}

}  // namespace

Limits checked_limits(const dal_limits& given) {
  Limits limits{{256, 256, 256}, 230, given.extraction != 0};
  for (int axis = 0; axis < 3; ++axis) {
    if (given.max_shape[axis]) limits.max_shape[axis] = given.max_shape[axis];
    if (limits.max_shape[axis] < 8 || limits.max_shape[axis] > 1024)
      fail(DAL_ARGUMENT, "value", "max_shape[%d] must be 8 to 1024, not %lld", axis,
           (long long)limits.max_shape[axis]);
  }
  if (given.max_brain_mm != 0) limits.max_brain_mm = given.max_brain_mm;
  if (!(limits.max_brain_mm >= 20 && limits.max_brain_mm <= 1000))
    fail(DAL_ARGUMENT, "value", "max_brain_mm must be 20 to 1000, not %g", limits.max_brain_mm);
  return limits;
}

size_t arena_bytes(const Settings& settings, const Limits& limits, int threads) {
  const Arena measure(nullptr, 0);
  const Shape scan = in_memory(limits.max_shape);
  const Shape seen{settings.brain_shape[0], settings.brain_shape[1], settings.brain_shape[2]};
  const auto resampling = [&](Shape grid) {  // from the scan to a grid, and back
    const int resamplers = resamplers_of(threads);
    return std::max(most_resample_workspace(scan, resamplers), most_resample_workspace(grid, resamplers));
  };
  const auto cube = [](int64_t side) { return Shape{side, side, side}; };
  const auto voxels = [&](double mm, double size) { return int64_t(std::ceil(mm / size)) + 1; };
  const int64_t brain = voxels(limits.max_brain_mm, settings.voxel_mm);
  const int64_t model =
      rounded_up(brain + voxels(2 * GridSettings().margin_mm, settings.voxel_mm), GridSettings().multiple);
  const int64_t box = rounded_up(brain + 2 * kNetworkMargin, settings.stride);
  const int64_t first = measure.place<ScanBuffers>(0, scan).bytes;
  const auto m = measure.place<ModelBuffers>(0, settings, cube(model), resampling(cube(model)), threads);
  const int64_t behind = std::max(measure.place<BoxBuffers>(0, settings, cube(box), threads).bytes,
                                  measure.place<RegionBuffers>(0, scan, int64_t(1), threads).bytes);
  const int64_t later = std::max(m.bytes, m.kept + behind);
  const Shape cover = cube(voxels(limits.max_head_mm, settings.brain_voxel_mm));
  if (!limits.extraction) return static_cast<size_t>(first + later);
  const auto head = measure.place<HeadBuffers>(0, settings, scan, cover, resampling(seen), threads);
  return static_cast<size_t>(first + std::max(head.bytes, later));
}

dal_summary run_chain(const dal_engine& engine, const Limits& limits, engine::Request* const* requests,
                      const dal_request& request, const Watch& watch, RunMemory memory, Until until,
                      Regions& regions, Inside& inside) {
  if (!request.mask && !limits.extraction)
    fail(DAL_ARGUMENT, "skull-present",
         "no mask was given; give one, or open the session with dal_limits.extraction = 1");
  dal_summary found{};
  const Arena arena(memory.start, static_cast<int64_t>(memory.bytes));
  const UseCheckpoint use(&watch, [](const void* own) { static_cast<const Watch*>(own)->check(); });
  Run(engine, requests, request, watch, arena, found, inside).run(until, regions);
  return found;
}

}  // namespace dal
