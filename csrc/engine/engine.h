// What runs the networks of a bundle. An engine is chosen by name and nothing takes its place; OpenVINO is
// the first, and a native one or ONNX Runtime would be others behind the same three classes.
#pragma once
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "capi/memory.h"

namespace dal {

// A session's. A run takes it from idle to running and back, whoever cancels from running to cancelled.
enum class RunState : int { idle, running, cancelled };

// Whether a run is to end early: asked for by another thread, or out of time.
class Watch {
 public:
  using Clock = std::chrono::steady_clock;

  // deadline_ms: 0 for none.
  Watch(const std::atomic<RunState>& state, int64_t deadline_ms)
      : state_(state), deadline_ms_(deadline_ms) {}

  bool over() const { return cancelled() || late(); }
  // Throws Failure (DAL_CANCELLED or DAL_DEADLINE) when it is over.
  void check() const;

 private:
  bool cancelled() const { return state_.load(std::memory_order_relaxed) == RunState::cancelled; }
  bool late() const;

  const std::atomic<RunState>& state_;
  const int64_t deadline_ms_;
  const Clock::time_point begin_ = Clock::now();
};

namespace engine {

constexpr int kRank = 5;  // (1, channels, D, H, W)

struct Volume {
  float* data;
  int64_t shape[kRank];
  int64_t size() const { return shape[0] * shape[1] * shape[2] * shape[3] * shape[4]; }
};

// One caller at a time.
class Request {
 public:
  virtual ~Request() = default;
  virtual void close(const Memory& memory) noexcept = 0;  // destroys itself
  // Writes the network's output, whose shape the caller knows. Both are contiguous. Throws Failure.
  virtual void run(const Volume& input, const Volume& output, const Watch& watch) = 0;
};

class Network {
 public:
  virtual ~Network() = default;
  virtual void close(const Memory& memory) noexcept = 0;  // destroys itself
  virtual Request* request(const Memory& memory) = 0;  // closed before its network
};

struct Options {
  const char* path;  // folder or file of the library, or null
  const char* cache;  // folder, or null
  int32_t threads;
  bool bf16;  // compute in bfloat16 instead of float32
};

class Engine {
 public:
  virtual ~Engine() = default;
  virtual void close(const Memory& memory) noexcept = 0;  // destroys itself
  virtual const char* version() const = 0;
  // `form` and `weights` stay where they are for as long as the network lives.
  virtual Network* network(const Memory& memory, const char* form, size_t form_bytes, const void* weights,
                           size_t weights_bytes) = 0;
};

template <class T>
void close(T* object, const Memory& memory) noexcept {
  if (object) object->close(memory);
}

// Whether the processor multiplies bfloat16 itself: without that OpenVINO takes more time, or float32.
bool has_bf16();

// Throws Failure (DAL_ENGINE).
Engine* open_openvino(const Memory& memory, const Options& options);

}  // namespace engine
}  // namespace dal
