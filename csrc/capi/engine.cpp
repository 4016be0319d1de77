#include "capi/engine.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <thread>

#include "capi/failure.h"
#include "capi/structs.h"
#include "isa.h"

namespace dal {
namespace {

// Of the golden output's largest magnitude. What bfloat16 does to the results is measured in
// docs/howto/embed.md.
constexpr double kTolerance = 1e-3, kTolerance16 = 0.04;
constexpr int64_t kMostGolden = int64_t(1) << 26;

int32_t threads_of(int32_t wanted) {
  if (wanted < 0 || wanted > 1024) fail(DAL_ARGUMENT, "value", "threads must be 0 to 1024, not %d", wanted);
  const int processors = static_cast<int>(std::thread::hardware_concurrency());
  return wanted ? wanted : std::max(1, processors);
}

const char* copied(Block& block, const char* text) {
  if (!text) return nullptr;
  const size_t length = std::strlen(text) + 1;
  return static_cast<const char*>(std::memcpy(block.allocate(length), text, length));
}

std::optional<Executor> executor_of(const dal_executor* given) {
  if (!given) return std::nullopt;
  const dal_executor executor = taken(given, "dal_executor");
  if (!executor.run) fail(DAL_ARGUMENT, "value", "dal_executor.run is NULL");
  check_reserved(executor.reserved, "dal_executor");
  return Executor{executor.user, executor.run};
}

// Values in [0, 1) that Python makes alike: golden_input() of dal_fast/screening/bundle.py.
void golden_input(float* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    uint64_t z = uint64_t(i + 1) * 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    values[i] = static_cast<float>((z ^ z >> 31) >> 40) * 0x1p-24f;
  }
}

int64_t golden_side(const Bundle& bundle, const char* part, int axis) {
  char key[64];
  std::snprintf(key, sizeof key, "golden.%s.0.%d", part, axis);
  const int64_t side = bundle.integer(key);
  if (side < 1 || side > 1024) fail(DAL_BUNDLE, "weights-mismatch", "the bundle's %s is out of range", key);
  return side;
}

}  // namespace
}  // namespace dal

dal_engine* dal::open_engine(const Memory& memory, const dal_options& options, uint8_t* file,
                             size_t bytes, Compile when) {
  void* place;
  try {
    place = memory.take(sizeof(dal_engine));
  } catch (...) {
    memory.give(file, bytes);
    throw;
  }
  try {
    return new (place) dal_engine(memory, options, file, bytes, when);
  } catch (...) {
    memory.give(place, sizeof(dal_engine));
    throw;
  }
}

dal_engine::dal_engine(const dal::Memory& given, const dal_options& options, uint8_t* bytes_of_file,
                       size_t bytes, dal::Compile when)
    : memory(given),
      file(memory, bytes_of_file, bytes),
      threads(dal::threads_of(options.threads)),
      executor(dal::executor_of(options.executor)),
      path(memory),
      cache(memory),
      bundle(memory, bytes_of_file, bytes),
      settings(dal::read_settings(bundle)),
      process_(getpid()),
      log_(options.log),
      log_user_(options.log_user) {
  try {
    open(options, when);
  } catch (...) {
    for (auto* network : networks_) dal::engine::close(network, memory);
    dal::engine::close(engine_, memory);
    throw;
  }
}

dal_engine::~dal_engine() {
  for (auto* network : networks_) dal::engine::close(network, memory);
  dal::engine::close(engine_, memory);
}

void dal_engine::open(const dal_options& options, dal::Compile when) {
  const char* const name = options.engine ? options.engine : "openvino";
  bf16_ = !std::strcmp(name, "openvino-bf16");
  if (!bf16_ && std::strcmp(name, "openvino"))
    dal::fail(DAL_UNSUPPORTED, "runtime-unavailable",
              "there is no engine %.100s; there are openvino and openvino-bf16", name);
  if (bf16_ && !dal::engine::has_bf16())
    dal::fail(DAL_UNSUPPORTED, "runtime-unavailable",
              "this processor has no arithmetic of bfloat16 (AVX512-BF16); take the engine openvino");
  bundle.check_payload();
  const dal::engine::Options about{dal::copied(path, options.engine_path),
                                   dal::copied(cache, options.cache_folder), threads, bf16_};
  engine_ = dal::engine::open_openvino(memory, about);
  say(1, "%s on %d threads, kernels for %s", engine_->version(), threads,
      dal::isa_name(dal::current_isa()));
  if (when == dal::Compile::when_needed) return;
  network(dal::Part::tissue);
  if (settings.residual_head) network(dal::Part::residual_head);
}

dal::engine::Network& dal_engine::network(dal::Part part) {
  const std::lock_guard<std::mutex> lock(mutex_);
  dal::engine::Network*& slot = networks_[static_cast<int>(part)];
  if (!slot) slot = compile(part);
  return *slot;
}

dal::engine::Network* dal_engine::compile(dal::Part part) {
  const char* const name = dal::kPartNames[static_cast<int>(part)];
  char form[64], weights[64];
  std::snprintf(form, sizeof form, "openvino/%s.xml", name);
  std::snprintf(weights, sizeof weights, "openvino/%s.bin", name);
  const dal::BundleTensor& xml = bundle.tensor(form, "U8");
  const dal::BundleTensor& bin = bundle.tensor(weights, "U8");
  dal::engine::Network* const network =
      engine_->network(memory, reinterpret_cast<const char*>(xml.data), xml.bytes, bin.data, bin.bytes);
  try {
    compare(part, *network);
  } catch (...) {
    dal::engine::close(network, memory);
    throw;
  }
  return network;
}

// The output for the golden input against what Python's eager networks made of it.
void dal_engine::compare(dal::Part part, dal::engine::Network& network) {
  const char* const name = dal::kPartNames[static_cast<int>(part)];
  char key[64];
  std::snprintf(key, sizeof key, "golden/%s", name);
  const dal::BundleTensor& golden = bundle.tensor(key, "F32");
  std::snprintf(key, sizeof key, "golden.%s.step", name);
  const int64_t step = bundle.integer(key), kept = static_cast<int64_t>(golden.bytes / sizeof(float));
  dal::engine::Volume input{nullptr, {}}, output{nullptr, {}};
  for (int axis = 0; axis < dal::engine::kRank; ++axis)
    input.shape[axis] = output.shape[axis] = dal::golden_side(bundle, name, axis);
  output.shape[1] = part == dal::Part::tissue ? settings.tissue_outputs() : 1;
  if (step < 1 || kept < 1 || input.shape[0] != 1 || input.size() > dal::kMostGolden ||
      (output.size() + step - 1) / step != kept)
    dal::fail(DAL_BUNDLE, "weights-mismatch", "the bundle's golden output of %s has another size", name);
  dal::Block in(memory), out(memory);
  input.data = static_cast<float*>(in.allocate(static_cast<size_t>(input.size()) * sizeof(float)));
  output.data = static_cast<float*>(out.allocate(static_cast<size_t>(output.size()) * sizeof(float)));
  dal::golden_input(input.data, input.size());
  struct Destroy {  // also when the run fails
    const dal::Memory& memory;
    dal::engine::Request* request;
    ~Destroy() { dal::engine::close(request, memory); }
  } const own{memory, network.request(memory)};
  const std::atomic<dal::RunState> to_its_end{dal::RunState::running};
  own.request->run(input, output, dal::Watch(to_its_end, 0));
  double worst = 0, largest = 1e-6;
  for (int64_t i = 0; i < kept; ++i) {
    float wanted;
    std::memcpy(&wanted, golden.data + i * int64_t(sizeof wanted), sizeof wanted);
    const double gap = std::fabs(double(output.data[i * step]) - double(wanted));
    worst = gap <= worst ? worst : gap;  // NaN stays
    largest = std::max(largest, std::fabs(double(wanted)));
  }
  say(0, "%s differs from its golden output by %.2g of the largest value", name, worst / largest);
  const double tolerance = bf16_ ? dal::kTolerance16 : dal::kTolerance;
  if (!(worst / largest <= tolerance))
    dal::fail(DAL_ENGINE, "engine-parity",
              "the engine's %s differs from its golden output by %.2g of the largest value (%g is allowed)",
              name, worst / largest, tolerance);
}

bool dal_engine::forked() const { return getpid() != process_; }

void dal_engine::check_process() const {
  if (forked())
    dal::fail(DAL_UNSUPPORTED, "runtime-unavailable",
              "the engine was opened before this process was forked; open it after the fork");
}

void dal_engine::say(int32_t level, const char* format, ...) const {
  if (!log_) return;
  char text[256];
  va_list values;
  va_start(values, format);
  std::vsnprintf(text, sizeof text, format, values);
  va_end(values);
  log_(log_user_, level, text);
}

const char* dal_engine::fact(const char* name) const {
  return std::strcmp(name, "engine") ? bundle.text(name) : engine_->version();
}

void dal_engine::reserve_threads() {
  const int sessions = sessions_.fetch_add(1) + 1;
  if (executor) return;
  const int processors = static_cast<int>(std::thread::hardware_concurrency());
  pool.reserve(std::min(sessions * (threads - 1), std::max(threads - 1, processors)));
}

void dal_engine::leave(dal_engine* engine) noexcept {
  if (engine->forked()) return;
  if (engine->users_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  const dal::Memory memory = engine->memory;
  memory.destroy(engine);
}
