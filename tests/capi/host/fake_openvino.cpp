// A stand-in for OpenVINO's C library, as far as dal_fast uses it: a network is a line of text
// (fake_network.h), a request has one thread, and the call that `fake_openvino_fail_at` names fails.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <new>
#include <thread>

#include "engine/openvino_api.h"
#include "fake_network.h"

#define FAKE extern "C" __attribute__((visibility("default")))

namespace dal::engine::openvino {

struct Core {};
struct Model {
  fake::Network network;
};
struct Compiled {
  fake::Network network;
};
struct Tensor {
  int64_t dims[5];
  int64_t rank;
  size_t element;
  void* host;  // or its own:
  char* own;
  size_t bytes() const {
    size_t all = element;
    for (int64_t axis = 0; axis < rank; ++axis) all *= static_cast<size_t>(dims[axis]);
    return all;
  }
};

namespace {

std::atomic<int64_t> calls{0}, fails_at{0};

bool fails() { return ++calls == fails_at; }

size_t bytes_of(unsigned type) { return type == 4 ? 4 : type == 16 ? 1 : 2; }

Tensor* tensor_of(unsigned type, const Shape& shape, void* host) {
  Tensor* const tensor = new Tensor{{}, shape.rank, bytes_of(type), host, nullptr};
  std::memcpy(tensor->dims, shape.dims, static_cast<size_t>(shape.rank) * sizeof(int64_t));
  return tensor;
}

}  // namespace

struct Infer {
  explicit Infer(const fake::Network& of) : network(of), worker([this] { serve(); }) {}
  ~Infer() {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      stopping = true;
    }
    changed.notify_all();
    worker.join();
    delete[] output.own;
  }

  void serve() {
    std::unique_lock<std::mutex> lock(mutex);
    for (;;) {
      changed.wait(lock, [&] { return started || stopping; });
      if (stopping) return;
      lock.unlock();
      work();
      lock.lock();
      started = false;
      done = true;
      changed.notify_all();
      const Callback* const call = callback;
      lock.unlock();
      if (call) call->call(call->user);
      lock.lock();
    }
  }

  void work() {
    const int64_t planes = network.outputs * input.dims[2];
    const auto begin = std::chrono::steady_clock::now();
    for (int64_t plane = 0; plane < planes && !cancelled; ++plane) {
      network.run(static_cast<const float*>(input.host), input.dims + 2, plane,
                  reinterpret_cast<float*>(output.own));
      const auto due =
          begin + std::chrono::microseconds(1000 * network.milliseconds * (plane + 1) / planes);
      while (!cancelled && std::chrono::steady_clock::now() < due)
        std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  }

  // As large as the input asks for; what was there is used again if it is large enough.
  void resize() {
    output.rank = 5;
    output.element = 4;
    std::memcpy(output.dims, input.dims, sizeof output.dims);
    output.dims[1] = network.outputs;
    if (output.bytes() > room) {
      delete[] output.own;
      room = 0;
      output.own = new char[output.bytes()];
      room = output.bytes();
    }
    if (network.shape) std::swap(output.dims[2], output.dims[1]);
    if (network.half) output.element = 2;
  }

  const fake::Network network;
  std::mutex mutex;
  std::condition_variable changed;
  bool started = false, done = true, stopping = false;
  std::atomic<bool> cancelled{false};
  const Callback* callback = nullptr;
  Tensor input{}, output{};
  size_t room = 0;
  std::thread worker;  // the last: it begins at once
};

}  // namespace dal::engine::openvino

using namespace dal::engine::openvino;

// The k-th call from now on returns an error; 0: none. Returns how many there have been since the last
// time.
FAKE int64_t fake_openvino_fail_at(int64_t k) {
  const int64_t before = calls.exchange(0);
  fails_at = k;
  return before;
}

FAKE Status ov_get_openvino_version(Version* version) {
  if (fails()) return -1;
  version->build = "stand-in";
  version->description = "";
  return 0;
}
FAKE void ov_version_free(Version*) {}
FAKE const char* ov_get_error_info(Status) { return "as the test asked"; }
FAKE Status ov_core_create(Core** core) {
  if (fails()) return -1;
  *core = new Core;
  return 0;
}
FAKE void ov_core_free(Core* core) { delete core; }
FAKE Status ov_core_read_model_from_memory_buffer(const Core*, const char* text, size_t length,
                                                  const Tensor* weights, Model** model) {
  if (fails() || weights->bytes() == 0) return -1;
  *model = new Model{fake::Network(std::string(text, length))};
  return 0;
}
FAKE Status ov_core_compile_model(const Core*, const Model* model, const char*, size_t, Compiled** compiled,
                                  ...) {
  if (fails()) return -1;
  *compiled = new Compiled{model->network};
  return 0;
}
FAKE void ov_model_free(Model* model) { delete model; }
FAKE void ov_compiled_model_free(Compiled* compiled) { delete compiled; }
FAKE Status ov_compiled_model_create_infer_request(const Compiled* compiled, Infer** infer) {
  if (fails()) return -1;
  try {
    *infer = new Infer(compiled->network);
  } catch (const std::exception&) {
    return -1;
  }
  return 0;
}
FAKE void ov_infer_request_free(Infer* infer) { delete infer; }
FAKE Status ov_infer_request_set_callback(Infer* infer, const Callback* callback) {
  if (fails()) return -1;
  infer->callback = callback;
  return 0;
}
FAKE Status ov_infer_request_set_input_tensor_by_index(Infer* infer, size_t, const Tensor* tensor) {
  if (fails()) return -1;
  infer->input = *tensor;
  return 0;
}
FAKE Status ov_infer_request_start_async(Infer* infer) {
  if (fails()) return -1;
  infer->resize();
  infer->cancelled = false;
  {
    const std::lock_guard<std::mutex> lock(infer->mutex);
    infer->started = true;
    infer->done = false;
  }
  infer->changed.notify_all();
  return 0;
}
FAKE Status ov_infer_request_wait(Infer* infer) {
  if (fails()) return -1;
  std::unique_lock<std::mutex> lock(infer->mutex);
  infer->changed.wait(lock, [&] { return infer->done; });
  return infer->cancelled ? -2 : 0;
}
FAKE Status ov_infer_request_cancel(Infer* infer) {
  infer->cancelled = true;
  return 0;
}
FAKE Status ov_infer_request_get_output_tensor_by_index(const Infer* infer, size_t, Tensor** tensor) {
  if (fails()) return -1;
  *tensor = new Tensor(infer->output);
  (*tensor)->host = infer->output.own;
  (*tensor)->own = nullptr;
  return 0;
}
FAKE Status ov_tensor_create(unsigned type, Shape shape, Tensor** tensor) {
  if (fails()) return -1;
  *tensor = tensor_of(type, shape, nullptr);
  return 0;
}
FAKE Status ov_tensor_create_from_host_ptr(unsigned type, Shape shape, void* host, Tensor** tensor) {
  if (fails()) return -1;
  *tensor = tensor_of(type, shape, host);
  return 0;
}
FAKE Status ov_tensor_get_shape(const Tensor* tensor, Shape* shape) {
  if (fails()) return -1;
  shape->rank = tensor->rank;
  shape->dims = new int64_t[static_cast<size_t>(tensor->rank)];
  std::memcpy(shape->dims, tensor->dims, static_cast<size_t>(tensor->rank) * sizeof(int64_t));
  return 0;
}
FAKE Status ov_tensor_get_byte_size(const Tensor* tensor, size_t* bytes) {
  *bytes = tensor->bytes();
  return 0;
}
FAKE Status ov_tensor_data(const Tensor* tensor, void** data) {
  if (fails()) return -1;
  *data = tensor->host;
  return 0;
}
FAKE void ov_tensor_free(Tensor* tensor) { delete tensor; }
FAKE Status ov_shape_free(Shape* shape) {
  delete[] shape->dims;
  return 0;
}
