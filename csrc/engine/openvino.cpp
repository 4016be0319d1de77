// OpenVINO on the CPU: single precision or bfloat16, no pinning, tensors over our own memory.
#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "capi/dal_fast.h"
#include "capi/failure.h"
#include "engine/engine.h"
#include "engine/openvino_api.h"
#include "isa.h"

namespace dal::engine {
namespace openvino {
namespace {

constexpr int kLongestPath = 4096;

[[noreturn]] void unavailable(const char* what, const char* why) {
  fail(DAL_ENGINE, "runtime-unavailable",
       "OpenVINO cannot be used (%.120s: %.250s); install it (pip install openvino) and name its folder in "
       "options.engine_path",
       what, why);
}

// The first file of a folder whose name begins with libopenvino_c.so: the version stands behind it.
bool find_library(const char* folder, char path[kLongestPath]) {
  DIR* const listing = opendir(folder);
  if (!listing) return false;
  bool found = false;
  while (const dirent* const entry = readdir(listing)) {
    if (std::strncmp(entry->d_name, "libopenvino_c.so", 16)) continue;
    const int length = std::snprintf(path, kLongestPath, "%s/%s", folder, entry->d_name);
    found = length > 0 && length < kLongestPath;
    if (found) break;
  }
  closedir(listing);
  return found;
}

// The process that loaded it first. Its threads do not come along into a forked child, where compiling a
// network would hang.
std::atomic<pid_t> loaded_by{0};

void check_fork() {
  const pid_t first = loaded_by;
  if (first && first != getpid())
    fail(DAL_ENGINE, "runtime-unavailable",
         "OpenVINO was loaded before this process was forked; open engines after the fork");
}

// The folder, `libs` in it as in the wheel, or the file itself.
void* load(const char* given) {
  check_fork();
  char path[kLongestPath] = "libopenvino_c.so";
  if (given) {
    struct stat status;
    if (stat(given, &status)) unavailable(given, std::strerror(errno));
    if (S_ISDIR(status.st_mode)) {
      char inner[kLongestPath];
      std::snprintf(inner, sizeof inner, "%s/libs", given);
      if (!find_library(given, path) && !find_library(inner, path))
        unavailable(given, "there is no libopenvino_c.so in this folder");
    } else {
      // without a folder in its name the loader would look elsewhere
      std::snprintf(path, sizeof path, "%s%s", std::strchr(given, '/') ? "" : "./", given);
    }
  }
  // It stays: its threads run on, and other engines may use it.
  void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!library) {
    const char* const why = dlerror();
    unavailable(path, why ? why : "unknown");
  }
  pid_t nobody = 0;
  loaded_by.compare_exchange_strong(nobody, getpid());
  return library;
}

void look_up(void* library, Api* api) {
#define DAL_OPENVINO_FIND(result, name, parameters)                          \
  api->name = reinterpret_cast<result(*) parameters>(dlsym(library, #name)); \
  if (!api->name) unavailable(#name, "its library has no such function; it is too old");
  DAL_OPENVINO_FUNCTIONS(DAL_OPENVINO_FIND)
#undef DAL_OPENVINO_FIND
}

// Numbers of element types have moved between versions. What they mean shows in the bytes of eight
// elements.
unsigned type_of(const Api& api, unsigned first, unsigned last, size_t bytes) {
  int64_t dims[1] = {8};
  for (unsigned type = first; type <= last; ++type) {
    Tensor* tensor = nullptr;
    size_t found = 0;
    if (api.ov_tensor_create(type, {1, dims}, &tensor) == 0) {
      api.ov_tensor_get_byte_size(tensor, &found);
      api.ov_tensor_free(tensor);
    }
    if (found == bytes) return type;
  }
  unavailable("its element types", "they are not those of any version that is known");
}

struct Types {
  unsigned f32, u8;
};

bool all_finite(const Volume& volume) {
  bool finite = true;
  for (int64_t i = 0; i < volume.size(); ++i) finite &= volume.data[i] - volume.data[i] == 0;
  return finite;
}

class OpenvinoRequest final : public Request {
 public:
  OpenvinoRequest(const Api& api, const Types& types, const Compiled* compiled) : api_(api), types_(types) {
    check(api.ov_compiled_model_create_infer_request(compiled, &infer_), "a request cannot be made");
    const Status status = api.ov_infer_request_set_callback(infer_, &callback_);
    if (status) {
      api.ov_infer_request_free(infer_);
      check(status, "a request cannot be made");
    }
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&changed_, &attributes);
    pthread_condattr_destroy(&attributes);
  }
  void close(const Memory& memory) noexcept override { memory.destroy(this); }
  ~OpenvinoRequest() override {
    api_.ov_infer_request_free(infer_);
    pthread_cond_destroy(&changed_);
    pthread_mutex_destroy(&mutex_);
  }

  void run(const Volume& input, const Volume& output, const Watch& watch) override {
    give(input);
    done_ = false;
    check(api_.ov_infer_request_start_async(infer_), "the network cannot be started");
    if (!wait(watch)) {
      api_.ov_infer_request_cancel(infer_);
      api_.ov_infer_request_wait(infer_);
      while (!wait_a_while()) {
      }
      watch.check();
    }
    check(api_.ov_infer_request_wait(infer_), "the network failed");
    take(output);
  }

 private:
  void check(Status status, const char* what) const {
    if (status) fail(DAL_ENGINE, "engine-failed", "%s: %s", what, api_.ov_get_error_info(status));
  }

  void give(const Volume& input) {
    Tensor* tensor = nullptr;
    int64_t dims[kRank];
    std::memcpy(dims, input.shape, sizeof dims);
    check(api_.ov_tensor_create_from_host_ptr(types_.f32, {kRank, dims}, input.data, &tensor),
          "its input is refused");
    const Status status = api_.ov_infer_request_set_input_tensor_by_index(infer_, 0, tensor);
    api_.ov_tensor_free(tensor);  // the request has its own reference
    check(status, "its input is refused");
  }

  void take(const Volume& output) {
    Tensor* tensor = nullptr;
    check(api_.ov_infer_request_get_output_tensor_by_index(infer_, 0, &tensor), "it has no output");
    const size_t bytes = static_cast<size_t>(output.size()) * sizeof(float);
    Shape shape{};
    size_t found = 0;
    void* data = nullptr;
    Status status = api_.ov_tensor_get_shape(tensor, &shape);
    bool same = status == 0 && shape.rank == kRank;
    for (int axis = 0; same && axis < kRank; ++axis) same = shape.dims[axis] == output.shape[axis];
    if (status == 0) api_.ov_shape_free(&shape);
    if (same) status = api_.ov_tensor_get_byte_size(tensor, &found);
    same = same && found == bytes;
    if (same) status = api_.ov_tensor_data(tensor, &data);
    if (same && status == 0) std::memcpy(output.data, data, bytes);
    api_.ov_tensor_free(tensor);
    check(status, "it has no output");
    if (!same)
      fail(DAL_ENGINE, "engine-failed", "a network's output has another shape or type than it should");
    if (!all_finite(output))
      fail(DAL_ENGINE, "engine-failed", "a network's output has values that are NaN or infinite");
  }

  void finished() {
    pthread_mutex_lock(&mutex_);
    done_ = true;
    pthread_cond_signal(&changed_);
    pthread_mutex_unlock(&mutex_);
  }

  // Whether it is done, after at most five milliseconds.
  bool wait_a_while() {
    timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += 5'000'000;
    if (until.tv_nsec >= 1'000'000'000) {
      until.tv_nsec -= 1'000'000'000;
      ++until.tv_sec;
    }
    pthread_mutex_lock(&mutex_);
    while (!done_ && pthread_cond_timedwait(&changed_, &mutex_, &until) == 0) {
    }
    const bool done = done_;
    pthread_mutex_unlock(&mutex_);
    return done;
  }

  // Whether it was done before the watch was over.
  bool wait(const Watch& watch) {
    while (!wait_a_while())
      if (watch.over()) return false;
    return true;
  }

  const Api& api_;
  const Types types_;
  Infer* infer_ = nullptr;
  // OpenVINO keeps the pointer to it.
  const Callback callback_{[](void* self) { static_cast<OpenvinoRequest*>(self)->finished(); }, this};
  bool done_ = false;
  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t changed_;
};

class OpenvinoNetwork final : public Network {
 public:
  OpenvinoNetwork(const Api& api, const Types& types, Compiled* compiled)
      : api_(api), types_(types), compiled_(compiled) {}
  void close(const Memory& memory) noexcept override { memory.destroy(this); }
  ~OpenvinoNetwork() override { api_.ov_compiled_model_free(compiled_); }

  Request* request(const Memory& memory) override {
    return memory.make<OpenvinoRequest>(api_, types_, compiled_);
  }

 private:
  const Api& api_;
  const Types types_;
  Compiled* const compiled_;
};

class OpenvinoEngine final : public Engine {
 public:
  explicit OpenvinoEngine(const Options& options)
      : threads_(options.threads), cache_(options.cache), precision_(options.bf16 ? "bf16" : "f32") {
    look_up(load(options.path), &api_);
    types_.f32 = type_of(api_, 3, 6, 32);
    types_.u8 = type_of(api_, 13, 18, 8);
    Version version{};
    if (api_.ov_get_openvino_version(&version) == 0) {
      std::snprintf(version_, sizeof version_, "OpenVINO %.100s%s", version.build,
                    options.bf16 ? ", bf16" : "");
      api_.ov_version_free(&version);
    }
    check(api_.ov_core_create(&core_), "it does not start");
  }
  void close(const Memory& memory) noexcept override { memory.destroy(this); }
  ~OpenvinoEngine() override { api_.ov_core_free(core_); }

  const char* version() const override { return version_; }

  Network* network(const Memory& memory, const char* form, size_t form_bytes, const void* weights,
                   size_t weights_bytes) override {
    Model* const model = read(form, form_bytes, weights, weights_bytes);
    Compiled* compiled = nullptr;
    const Status status = compile(model, &compiled);
    api_.ov_model_free(model);
    check(status, "a network cannot be compiled");
    try {
      return memory.make<OpenvinoNetwork>(api_, types_, compiled);
    } catch (...) {
      api_.ov_compiled_model_free(compiled);
      throw;
    }
  }

 private:
  void check(Status status, const char* what) const {
    if (status) fail(DAL_ENGINE, "engine-build", "OpenVINO: %s (%s)", what, api_.ov_get_error_info(status));
  }

  Model* read(const char* form, size_t form_bytes, const void* weights, size_t weights_bytes) {
    int64_t dims[1] = {static_cast<int64_t>(weights_bytes)};
    Tensor* tensor = nullptr;
    check(api_.ov_tensor_create_from_host_ptr(types_.u8, {1, dims}, const_cast<void*>(weights), &tensor),
          "weights are refused");
    Model* model = nullptr;
    const Status status =
        api_.ov_core_read_model_from_memory_buffer(core_, form, form_bytes, tensor, &model);
    api_.ov_tensor_free(tensor);
    check(status, "a network cannot be read");
    return model;
  }

  // As Python compiles it. Several processes would be pinned to the same cores.
  Status compile(const Model* model, Compiled** compiled) {
    char threads[16];
    std::snprintf(threads, sizeof threads, "%d", threads_);
#define DAL_PROPERTIES                                                                               \
  "PERFORMANCE_HINT", "LATENCY", "INFERENCE_PRECISION_HINT", precision_, "ENABLE_CPU_PINNING", "NO", \
      "INFERENCE_NUM_THREADS", threads
    if (!cache_) return api_.ov_core_compile_model(core_, model, "CPU", 8, compiled, DAL_PROPERTIES);
    return api_.ov_core_compile_model(core_, model, "CPU", 10, compiled, DAL_PROPERTIES, "CACHE_DIR",
                                      cache_);
#undef DAL_PROPERTIES
  }

  Api api_{};
  Types types_{};
  const int32_t threads_;
  const char* const cache_;
  const char* const precision_;
  Core* core_ = nullptr;
  char version_[128] = "OpenVINO";
};

}  // namespace
}  // namespace openvino

bool has_bf16() {
#if DAL_X86
  return __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

Engine* open_openvino(const Memory& memory, const Options& options) {
  return memory.make<openvino::OpenvinoEngine>(options);
}

}  // namespace dal::engine
