// What a program that hosts the library needs to put it to the test: a small bundle, whose networks are the
// stand-in's (fake_openvino.cpp), brains to screen, and checks that end the program with a sentence.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "capi/dal_fast.h"

namespace host {

[[noreturn]] void fail(const char* file, int line, const char* what, const std::string& more = "");
#define CHECK(condition, ...)                                                    \
  do {                                                                           \
    if (!(condition)) host::fail(__FILE__, __LINE__, #condition, ##__VA_ARGS__); \
  } while (0)

// Where the stand-in lies, and how long a check may go on drawing.
extern const char* engine_path;
extern double seconds;
// Beside it: the k-th call from now on fails; how many there were.
int64_t fake_fails_at(int64_t k);

struct BundleOptions {
  bool evidence = true;  // the tissue network sees it, and there is a residual head
  double voxel_mm = 8;
  int64_t network_milliseconds = 0;
  std::string behaviour;  // of the networks, as fake_network.h; the golden outputs do not show it
};
std::vector<uint8_t> bundle(const BundleOptions& options = {});

// How a call ended.
struct Outcome {
  dal_error error = {sizeof error, 0, "", ""};
  int32_t status = 0;
  bool is(int32_t wanted, const char* code) const {
    return status == wanted && (status == DAL_OK || !std::strcmp(error.code, code));
  }
  std::string words() const { return std::to_string(status) + " " + error.code + ": " + error.message; }
};

class Engine {
 public:
  explicit Engine(const std::vector<uint8_t>& bundle, int32_t threads = 2,
                  const dal_allocator* allocator = nullptr, const dal_executor* executor = nullptr);
  ~Engine() { dal_engine_close(handle); }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  dal_engine* handle = nullptr;
  Outcome opened;
};

// A scan of a brain in memory of the exact size, its mask, and what a run writes.
struct Brain {
  explicit Brain(uint64_t seed = 1, int64_t i = 24, int64_t j = 28, int64_t k = 22);

  dal_image scan_image() const;
  dal_image mask_image() const;
  int64_t shape[3];
  double voxel_mm = 7;
  std::vector<float> scan;
  std::vector<uint8_t> mask;
};

struct Found {
  Outcome outcome;
  dal_summary summary = {};
  std::vector<float> map;
  std::vector<uint8_t> above;
  std::vector<dal_region> regions;
  bool same(const Found& other) const;  // to the bit
};

class Session {
 public:
  explicit Session(const Engine& engine, bool extraction = false, int64_t side = 48);
  ~Session() { dal_session_close(handle); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // deadline_ms: 0 for none. Without a mask the brain is extracted.
  Found run(const Brain& brain, int64_t deadline_ms = 0, bool mask = true) const;

  dal_session* handle = nullptr;
  Outcome opened;
};

// Every check, by its name.
void screens_of_random_volumes();
void sixteen_sessions_at_once();
void two_runs_in_one_session();
void two_hundred_cancels();
void a_cancel_that_comes_late();
void deadlines();
void odd_arithmetic();
void odd_arithmetic_of_lent_threads();
void memory_that_ends_at_every_call();
void an_engine_that_fails_at_every_call();
void an_engine_that_lies();
void threads_that_are_refused();
void a_fork_before_and_after_opening();
void an_exit_during_a_run();
#ifdef HOST_COUNTS_MALLOC
void no_allocation_in_a_run();
void malloc_that_ends_at_every_call();
#endif

}  // namespace host
