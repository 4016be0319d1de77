// What the shim's sources share and kernels never see.
#pragma once
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "coh/language.h"
#include "coh/machine.h"

#if !defined(__x86_64__) && !defined(COH_UCONTEXT)
#define COH_UCONTEXT
#endif
#ifdef COH_UCONTEXT
#include <ucontext.h>
#endif

namespace coh {

struct Block;

// One kernel thread: what its kernel sees, a stack, and where and why it stands.
struct Fiber : Thread {
#ifdef COH_UCONTEXT
  ucontext_t context;
#else
  void* stack_pointer;
#endif
  char *stack_low = nullptr, *stack_high = nullptr;
  void* fake_stack = nullptr;  // ASan's
  Block* home = nullptr;
  bool done = true, waiting = false;
  const char* operation = nullptr;  // that it waits in
  Place at;
  uint32_t priority = 0;  // of Order::warps
  uint32_t warp_epoch = 0;  // warp operations so far, for the checker
};

// Lanes that meet in one warp operation; free when nobody has arrived and nobody has still to read.
struct Meeting {
  unsigned mask, arrived, unread;
  const char* operation;
  Place at;
  uint64_t values[32];
};
using Warp = std::array<Meeting, 32>;  // each lane is in one at most

// Behind allocations and dynamic shared memory: filled before a kernel runs, looked at when it has run.
#ifdef __SANITIZE_ADDRESS__
constexpr size_t kRedZone = 0;  // ASan's own are exact to the byte
#else
constexpr size_t kRedZone = 256;  // bytes
#endif
constexpr int kFill = 0xff;  // NaN, -1
bool is_filled(const char* red_zone);

struct Free {
  void operator()(char* p) const { free(p); }
};

// A block that is resident: its threads, and their barrier.
struct Block {
  unsigned slot = 0;
  uint32_t serial = 0;  // unique over all launches
  uint32_t epoch = 0;  // barriers so far
  unsigned live = 0, arrived = 0;
  Place barrier;  // where those who have arrived stand
  Votes votes{0, 0}, result{0, 0};
  std::vector<Fiber*> threads;
  std::vector<Warp> warps;
  std::unique_ptr<char, Free> dynamic;  // shared memory
  std::vector<char> statics;  // static shared memory while another block has it in place
};

enum class Order { ascending, descending, random, warps };

struct Settings {
  Order order = Order::ascending;
  unsigned preempt = 0;  // in 1000
  unsigned resident = 1;
};

// The launch that runs, and what the last ones left behind.
struct Launch {
  bool running = false, aborted = false;
  const void* kernel = nullptr;
  const char* name = "";
  unsigned threads = 0;  // a block
  size_t shared_bytes = 0;
  void (*body)(void*) = nullptr;
  void* arguments = nullptr;
  std::vector<uint64_t> blocks;  // in the order in which they run
  size_t next_block = 0;
  uint32_t first_serial = 1, next_serial = 1;
  std::vector<std::unique_ptr<Block>> resident;
};

extern Settings settings;
extern Launch running;
extern Fiber host;  // the thread that launches
inline Fiber* self() { return static_cast<Fiber*>(current); }
uint64_t random_number();
inline const char* base_name(const char* path) {
  const char* slash = path ? strrchr(path, '/') : nullptr;
  return slash ? slash + 1 : path ? path : "?";
}

// fibers.cpp
extern uint64_t switches;
std::unique_ptr<Fiber> make_fiber();
void arm(Fiber& fiber, unsigned index, void (*entry)());  // it will start in entry(), which never returns
void switch_to(Fiber& to);
void adopt_stack(Fiber& of_this_thread);
void after_first_switch();  // the first thing that an entry does

// scheduler.cpp
void reset_queue(size_t fibers);
bool start_block(Block& block);  // the next of the grid, if any is left
void run_fiber();  // entry of every fiber
void run_others();  // dispatch; returns when it is this fiber's turn again
void maybe_preempt();
void stop(const std::string& message);  // abandon the kernel, from one of its threads

// statics.cpp: static shared memory of the kernel's library
void locate_statics(const void* kernel);
bool in_statics(uintptr_t address);
void note_static_access(uintptr_t address);  // race builds: only what was touched is poisoned and swapped
void poison_statics(Block& block);
void bring_statics(Block& block);  // into place
void forget_statics();  // the launch is over

// runtime.cpp
void set_error(cudaError_t error, const std::string& message);
void check_red_zones();

// race.cpp
void begin_checked_launch();
void end_checked_launch();
void reset_reports();
void out_of_time();  // from a signal

}  // namespace coh
