// host ENGINE [CHECK [SECONDS]]: runs a check, or every check in a process of its own.
#include "host.h"

#include <dlfcn.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>

#include "bundle/sha256.h"
#include "fake_network.h"

extern char** environ;

namespace host {

const char* engine_path = nullptr;
double seconds = 2;

void fail(const char* file, int line, const char* what, const std::string& more) {
  std::fprintf(stderr, "%s:%d: %s %s\n", file, line, what, more.c_str());
  std::_Exit(1);
}

int64_t fake_fails_at(int64_t k) {
  using Function = int64_t (*)(int64_t);
  static const auto function = [] {
    void* const library = dlopen(engine_path, RTLD_NOW | RTLD_LOCAL);
    CHECK(library, dlerror());
    return reinterpret_cast<Function>(dlsym(library, "fake_openvino_fail_at"));
  }();
  return function(k);
}

namespace {

class Writer {
 public:
  void fact(const std::string& key, const std::string& value) {
    facts_ += (facts_.empty() ? "\"" : ", \"") + key + "\": \"" + value + "\"";
  }
  void tensor(const std::string& name, const char* dtype, const std::vector<int64_t>& shape,
              const void* data, size_t bytes) {
    std::string sides;
    for (const int64_t side : shape) sides += (sides.empty() ? "" : ", ") + std::to_string(side);
    tensors_ += ", \"" + name + "\": {\"dtype\": \"" + dtype + "\", \"shape\": [" + sides +
                "], \"data_offsets\": [" + std::to_string(payload_.size()) + ", " +
                std::to_string(payload_.size() + bytes) + "]}";
    const auto* const from = static_cast<const uint8_t*>(data);
    payload_.insert(payload_.end(), from, from + bytes);
    payload_.resize((payload_.size() + 63) / 64 * 64);
  }
  void floats(const std::string& name, const std::vector<int64_t>& shape,
              const std::vector<float>& values) {
    tensor(name, "F32", shape, values.data(), values.size() * sizeof(float));
  }
  std::vector<uint8_t> file() {
    char digits[65];
    dal::sha256_hex(payload_.data(), payload_.size(), digits);
    fact("payload_sha256", digits);
    std::string header = "{\"__metadata__\": {" + facts_ + "}" + tensors_ + "}";
    header.resize((header.size() + 8 + 63) / 64 * 64 - 8, ' ');
    std::vector<uint8_t> whole;
    for (int i = 0; i < 8; ++i) whole.push_back(static_cast<uint8_t>(header.size() >> 8 * i));
    whole.insert(whole.end(), header.begin(), header.end());
    whole.insert(whole.end(), payload_.begin(), payload_.end());
    return whole;
  }

 private:
  std::string facts_, tensors_;
  std::vector<uint8_t> payload_;
};

float golden_value(uint64_t i) {
  uint64_t z = (i + 1) * 0x9E3779B97F4A7C15;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
  z = (z ^ z >> 27) * 0x94D049BB133111EB;
  return static_cast<float>((z ^ z >> 31) >> 40) * 0x1p-24f;
}

constexpr int64_t kBrainSide = 24, kGoldenStep = 7;

void network(Writer& to, const std::string& part, int64_t inputs, int64_t outputs, int64_t side,
             const BundleOptions& options) {
  const std::string form = part + " outputs " + std::to_string(outputs);
  const std::string behaviour =
      form + " milliseconds " + std::to_string(options.network_milliseconds) + " " + options.behaviour;
  to.tensor("openvino/" + part + ".xml", "U8", {int64_t(behaviour.size())}, behaviour.data(),
            behaviour.size());
  to.tensor("openvino/" + part + ".bin", "U8", {8}, "weights!", 8);
  const int64_t sides[3] = {side, side, side}, voxels = side * side * side;
  std::vector<float> x, out(static_cast<size_t>(outputs * voxels)), kept;
  for (int64_t i = 0; i < voxels; ++i) x.push_back(golden_value(uint64_t(i)));
  const fake::Network golden(form);
  for (int64_t plane = 0; plane < outputs * side; ++plane) golden.run(x.data(), sides, plane, out.data());
  for (size_t i = 0; i < out.size(); i += kGoldenStep) kept.push_back(out[i]);
  to.floats("golden/" + part, {int64_t(kept.size())}, kept);
  const int64_t shape[5] = {1, inputs, side, side, side};
  for (int axis = 0; axis < 5; ++axis)
    to.fact("golden." + part + ".0." + std::to_string(axis), std::to_string(shape[axis]));
  to.fact("golden." + part + ".step", std::to_string(kGoldenStep));
}

}  // namespace

std::vector<uint8_t> bundle(const BundleOptions& options) {
  Writer to;
  to.fact("format", "dal-fast-bundle-1");
  to.fact("min_abi", "1");
  to.fact("requires", options.evidence
                          ? "closed_form tissue_input_evidence residual_head usual_residual extractor"
                          : "closed_form tissue_input_scan extractor");
  to.fact("voxel_mm", std::to_string(options.voxel_mm));
  to.fact("stride", "8");
  to.fact("tissues", "3");
  to.fact("input_ceiling", "1.0");
  to.fact("brain.voxel_mm", "8.5");
  to.fact("brain.reach_mm", "20.0");
  for (int axis = 0; axis < 3; ++axis)
    to.fact("brain.shape." + std::to_string(axis), std::to_string(kBrainSide));
  std::vector<float> atlas, usual;
  std::mt19937_64 random(7);
  for (int64_t i = 0; i < 3 * 6 * 7 * 6; ++i) atlas.push_back(float(random() % 1000) / 3000);
  for (int64_t i = 0; i < 5 * 5 * 5; ++i) usual.push_back(float(random() % 1000) / 1000);
  to.floats("atlas", {3, 6, 7, 6}, atlas);
  if (options.evidence) {
    to.floats("usual/T1w/enhanced_negative", {1, 5, 5, 5}, usual);
    to.floats("usual/T1w/structure", {1, 5, 5, 5}, usual);
    network(to, "residual_head", 11, 1, 8, options);
  }
  network(to, "tissue", options.evidence ? 7 : 1, options.evidence ? 4 : 3, 8, options);
  network(to, "extractor", 1, 1, kBrainSide, options);
  return to.file();
}

Engine::Engine(const std::vector<uint8_t>& bundle, int32_t threads, const dal_allocator* allocator,
               const dal_executor* executor) {
  dal_options options = {};
  options.struct_size = sizeof options;
  options.threads = threads;
  options.engine_path = engine_path;
  options.allocator = allocator;
  options.executor = executor;
  opened.status = dal_engine_open_memory(bundle.data(), bundle.size(), &options, &handle, &opened.error);
}

// Three shells and a bright spot.
Brain::Brain(uint64_t seed, int64_t i, int64_t j, int64_t k) : shape{i, j, k} {
  std::mt19937_64 random(seed);
  const auto at = [](int64_t index, int64_t side) {
    return 2.4 * (double(index) + 0.5) / double(side) - 1.2;
  };
  for (int64_t z = 0; z < k; ++z)
    for (int64_t y = 0; y < j; ++y)
      for (int64_t x = 0; x < i; ++x) {
        const double a = at(x, i), b = at(y, j), c = at(z, k), radius = std::sqrt(a * a + b * b + c * c);
        const bool spot = std::hypot(a - 0.4, b, c - 0.2) < 0.2;
        const double level = radius < 0.6 ? 120 : radius < 0.85 ? 90 : 40;
        const double noise = double(random() % 1000) / 100;
        scan.push_back(radius < 1 ? float(std::round((spot ? 1.8 : 1) * level + noise)) : 0.f);
        mask.push_back(radius < 1);
      }
}

namespace {

dal_image image_of(const Brain& brain, int32_t dtype, const void* data) {
  dal_image image = {};
  image.struct_size = sizeof image;
  image.dtype = dtype;
  std::copy(brain.shape, brain.shape + 3, image.shape);
  for (int axis = 0; axis < 3; ++axis) {
    image.affine[5 * axis] = brain.voxel_mm;
    image.affine[4 * axis + 3] = -brain.voxel_mm * double(brain.shape[axis]) / 2;
  }
  image.affine[15] = 1;
  image.data = data;
  return image;
}

}  // namespace

dal_image Brain::scan_image() const { return image_of(*this, DAL_F32, scan.data()); }
dal_image Brain::mask_image() const { return image_of(*this, DAL_U8, mask.data()); }

Session::Session(const Engine& engine, bool extraction, int64_t side) {
  dal_limits limits = {sizeof limits, extraction, {side, side, side}, 0};
  opened.status = dal_session_open(engine.handle, &limits, &handle, &opened.error);
}

Found Session::run(const Brain& brain, int64_t deadline_ms, bool with_mask) const {
  Found found;
  found.map.resize(brain.scan.size());
  found.above.resize(brain.scan.size());
  dal_output outputs[2] = {};
  outputs[0] = {sizeof(dal_output), DAL_ANOMALY_MAP, {}, found.map.data()};
  outputs[1] = {sizeof(dal_output), DAL_ANOMALY_MASK, {}, found.above.data()};
  const dal_image scan = brain.scan_image(), mask = brain.mask_image();
  dal_request request = {};
  request.struct_size = sizeof request;
  request.scan = &scan;
  request.mask = with_mask ? &mask : nullptr;
  request.outputs = outputs;
  request.outputs_count = 2;
  request.deadline_ms = deadline_ms;
  request.threshold = 0.05;
  found.summary.struct_size = sizeof found.summary;
  found.outcome.status = dal_run(handle, &request, &found.summary, &found.outcome.error);
  if (found.outcome.status != DAL_OK) return found;
  found.regions.resize(static_cast<size_t>(found.summary.regions));
  CHECK(dal_regions(handle, sizeof(dal_region), found.regions.data(), found.summary.regions, nullptr) ==
        DAL_OK);
  return found;
}

bool Found::same(const Found& other) const {
  return outcome.status == other.outcome.status && summary.score == other.summary.score &&
         map == other.map && above == other.above && regions.size() == other.regions.size() &&
         !std::memcmp(regions.data(), other.regions.data(), regions.size() * sizeof(dal_region));
}

}  // namespace host

namespace {

struct Named {
  const char* name;
  void (*check)();
};

#define NAMED(check) {#check, host::check}
constexpr Named kChecks[] = {
    NAMED(screens_of_random_volumes),
    NAMED(sixteen_sessions_at_once),
    NAMED(two_runs_in_one_session),
    NAMED(two_hundred_cancels),
    NAMED(a_cancel_that_comes_late),
    NAMED(deadlines),
    NAMED(odd_arithmetic),
    NAMED(odd_arithmetic_of_lent_threads),
    NAMED(memory_that_ends_at_every_call),
    NAMED(an_engine_that_fails_at_every_call),
    NAMED(an_engine_that_lies),
    NAMED(threads_that_are_refused),
    NAMED(a_fork_before_and_after_opening),
    NAMED(an_exit_during_a_run),
#ifdef HOST_COUNTS_MALLOC
    NAMED(no_allocation_in_a_run),
    NAMED(malloc_that_ends_at_every_call),
#endif
};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Its exit status.
int in_a_process_of_its_own(char* program, char* engine, const char* check) {
  char* words[] = {program, engine, const_cast<char*>(check), nullptr};
  pid_t child;
  CHECK(posix_spawn(&child, program, nullptr, nullptr, words, environ) == 0);
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  return status;
}

}  // namespace

int main(int count, char** words) {
  if (count < 2) return std::fprintf(stderr, "usage: host ENGINE [CHECK [SECONDS]]\n"), 2;
  host::engine_path = words[1];
  if (count > 3) host::seconds = std::atof(words[3]);
  int known = 0;
  for (const Named& check : kChecks) {
    if (count > 2) {
      if (std::strcmp(check.name, words[2])) continue;
      check.check();
      ++known;
      continue;
    }
    const double begin = now();
    const int status = in_a_process_of_its_own(words[0], words[1], check.name);
    std::printf("%s: %s, %.1f s\n", check.name, status ? "FAILED" : "as it should", now() - begin);
    std::fflush(stdout);
    if (status) return 1;
    ++known;
  }
  return known ? 0 : 2;
}
