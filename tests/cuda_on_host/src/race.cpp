// The access checker. Race builds compile kernels with -fsanitize=thread but without its run-time library:
// GCC then calls the functions at the end of this file at every load and store.
//
// Each byte, or each granule of equal bytes that are always accessed together, has a cell: who wrote it
// last and the last two who read it, with the barrier and the warp operation that they had last passed. Two
// accesses are ordered if a barrier of their block or, within a warp, a warp operation lies between them.
#include "coh/runtime.h"
#include "internal.h"

namespace coh {
constexpr char kTimeout[] = "the kernel has not ended in time; COH_TIMEOUT sets the seconds";
}

#ifdef COH_RACE
#include <dlfcn.h>

#include <csignal>
#include <cstdio>
#include <set>
#include <unordered_map>
#include <unordered_set>

namespace coh {
namespace {

enum class Kind : uint8_t { plain, is_volatile, atomic };

struct Mark {
  uint32_t block = 0;  // serial, 0: never
  uint32_t epoch, warp_epoch;
  uint16_t thread;
  Kind kind;
};
struct Cell {
  Mark write, read, earlier_read;
};

constexpr unsigned kPageBits = 12;

// The cells of 4 KB.
struct Page {
  unsigned shift;  // a granule has 1 << shift bytes
  std::vector<Cell> cells;

  void refine(unsigned finer) {
    std::vector<Cell> cells_now(size_t(1) << (kPageBits - finer));
    for (size_t i = 0; i < cells_now.size(); ++i) cells_now[i] = cells[i >> (shift - finer)];
    cells.swap(cells_now);
    shift = finer;
  }
};

// Cells of the addresses that a launch has touched. Pages are used again in the next one: what is left
// in them bears the serials of earlier blocks.
class Shadow {
 public:
  void clear() {
    for (auto& page : pages_) spare_.push_back(std::move(page.second));
    pages_.clear();
    for (auto& entry : recent_) entry = {};
  }

  // f(cell) for each granule of [address, address + bytes).
  template <class F>
  void each(uintptr_t address, size_t bytes, F f) {
    while (bytes) {
      const size_t in_page = std::min<size_t>(bytes, (1 << kPageBits) - (address & ((1 << kPageBits) - 1)));
      const unsigned finest = std::min<unsigned>(4, unsigned(__builtin_ctzll(address | in_page)));
      Page& page = at(address >> kPageBits, finest);
      if (page.shift > finest) page.refine(finest);
      const size_t first = (address & ((1 << kPageBits) - 1)) >> page.shift;
      for (size_t i = 0; i < in_page >> page.shift; ++i) f(page.cells[first + i]);
      address += in_page;
      bytes -= in_page;
    }
  }

 private:
  struct Recent {
    uintptr_t number = 0;
    Page* page = nullptr;
  };

  Page& at(uintptr_t number, unsigned shift) {
    Recent& recent = recent_[number % recent_.size()];
    if (recent.page && recent.number == number) return *recent.page;
    std::unique_ptr<Page>& page = pages_[number];
    if (!page) {
      if (spare_.empty()) spare_.push_back(std::make_unique<Page>());
      page = std::move(spare_.back());
      spare_.pop_back();
      page->shift = shift;
      page->cells.resize(size_t(1) << (kPageBits - shift));
    }
    recent = {number, page.get()};
    return *page;
  }

  std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages_;
  std::vector<std::unique_ptr<Page>> spare_;
  std::array<Recent, 256> recent_;
};

struct Report {
  const char *what, *access;
  void* instruction;
  uintptr_t address;
  std::string against;
  Thread thread;
};

constexpr size_t kReports = 32, kLines = 8;  // of one launch: instructions, and lines of its message

Shadow device;  // global memory
std::vector<Shadow> shared;  // by resident block
std::vector<Report> reports;
std::unordered_set<uintptr_t> reported;  // instructions of this launch
uint64_t races = 0;
volatile sig_atomic_t time_is_up = 0;

void report(const char* what, const char* access, uintptr_t address, const Mark* other, void* instruction) {
  ++races;
  if (!reported.insert(uintptr_t(instruction)).second || reports.size() == kReports) return;
  const Fiber& me = *self();
  std::string against;
  if (other) {
    against = " against thread " + std::to_string(other->thread);
    if (other->block != me.home->serial) against += " of another block";
    if (other->kind == Kind::atomic) against += " (atomic)";
    if (other->kind == Kind::is_volatile) against += " (volatile)";
  }
  reports.push_back({what, access, instruction, address, against, me});
}

// file:line of an instruction, by addr2line; its address in the library where that is missing.
std::string source_of(void* instruction) {
  Dl_info library;
  if (!dladdr(instruction, &library)) return "?";
  char text[600];
  const auto offset = static_cast<char*>(instruction) - static_cast<char*>(library.dli_fbase) - 1;
  snprintf(text, sizeof text, "addr2line -s -e '%s' %#lx 2>/dev/null", library.dli_fname,
           static_cast<unsigned long>(offset));
  std::string line;
  if (FILE* pipe = popen(text, "r")) {
    if (fgets(text, sizeof text, pipe)) line.assign(text, strcspn(text, " \n"));
    pclose(pipe);
  }
  return line.empty() || line[0] == '?' ? "+" + std::to_string(offset) : line;
}

// Two writes are safe if both are atomic; a write and a read, if neither is plain.
bool races_with(const Mark& mark, const Fiber& me, Kind kind, bool both_write, bool is_shared) {
  if (std::min(mark.kind, kind) > (both_write ? Kind::is_volatile : Kind::plain)) return false;
  const Block& block = *me.home;
  if (mark.block != block.serial) return !is_shared && mark.block >= running.first_serial;
  if (mark.thread == me.linear || mark.epoch != block.epoch) return false;
  return mark.thread / 32u != me.warp || mark.warp_epoch >= me.warp_epoch;
}

void check(uintptr_t address, size_t bytes, bool is_write, Kind kind, void* instruction) {
  if (!running.running) return;
  if (time_is_up) fail("%s", kTimeout);
  Fiber& me = *self();
  if (address - uintptr_t(me.stack_low) < uintptr_t(me.stack_high - me.stack_low)) return;
  if (kind != Kind::atomic) maybe_preempt();  // before an atomic this has been done
  Block& block = *me.home;
  const bool is_static = in_statics(address);
  const bool is_shared = is_static || address - uintptr_t(block.dynamic.get()) < running.shared_bytes;
  if (is_static) {
    note_static_access(address);
    note_static_access(address + bytes - 1);
  }
  const Mark mark{block.serial, block.epoch, me.warp_epoch, uint16_t(me.linear), kind};
  (is_shared ? shared[block.slot] : device).each(address, bytes, [&](Cell& cell) {
    if (is_shared && cell.write.block != block.serial && !(is_write && kind != Kind::atomic))
      report("uninitialised shared memory", "read", address, nullptr, instruction);
    if (races_with(cell.write, me, kind, is_write, is_shared))
      report("race", is_write ? "write after write" : "read after write", address, &cell.write,
             instruction);
    if (!is_write) {
      if (cell.read.block != mark.block || cell.read.thread != mark.thread) cell.earlier_read = cell.read;
      cell.read = mark;
      return;
    }
    for (const Mark* read : {&cell.read, &cell.earlier_read})
      if (races_with(*read, me, kind, false, is_shared)) {
        report("race", "write after read", address, read, instruction);
        break;
      }
    cell.write = mark;
  });
}

}  // namespace

void begin_checked_launch() {
  time_is_up = 0;
  device.clear();
  shared.resize(std::max(shared.size(), running.resident.size()));
  for (Shadow& shadow : shared) shadow.clear();
  reports.clear();
  reported.clear();
}

void end_checked_launch() {
  if (reports.empty()) return;
  std::string text = running.aborted ? coh_message() : "";
  std::set<std::string> told;  // what, and where in the source
  for (const Report& r : reports) {
    const std::string what = std::string(r.what) + ": " + r.access + " at " + source_of(r.instruction);
    if (told.size() == kLines || !told.insert(what).second) continue;
    char where[300];
    snprintf(where, sizeof where, " in kernel %s, block (%u,%u,%u), thread %u%s, address %#lx",
             running.name, r.thread.block.x, r.thread.block.y, r.thread.block.z, r.thread.linear,
             r.against.c_str(), static_cast<unsigned long>(r.address));
    text += (text.empty() ? "" : "\n") + what + where;
  }
  set_error(cudaErrorLaunchFailure, text);
}

void reset_reports() { races = 0; }

void out_of_time() { time_is_up = 1; }  // the checker may be at work: not now

void before_atomic(const volatile void* address, unsigned bytes) {
  maybe_preempt();
  check(uintptr_t(address), bytes, true, Kind::atomic, __builtin_return_address(0));
}

}  // namespace coh

extern "C" {

uint64_t coh_races() { return coh::races; }

#define COH_HOOK(name, bytes, is_write, kind)                                                      \
  void name(void* address) {                                                                       \
    coh::check(uintptr_t(address), bytes, is_write, coh::Kind::kind, __builtin_return_address(0)); \
  }
#define COH_HOOKS(bytes)                                                     \
  COH_HOOK(__tsan_read##bytes, bytes, false, plain)                          \
  COH_HOOK(__tsan_write##bytes, bytes, true, plain)                          \
  COH_HOOK(__tsan_unaligned_read##bytes, bytes, false, plain)                \
  COH_HOOK(__tsan_unaligned_write##bytes, bytes, true, plain)                \
  COH_HOOK(__tsan_volatile_read##bytes, bytes, false, is_volatile)           \
  COH_HOOK(__tsan_volatile_write##bytes, bytes, true, is_volatile)           \
  COH_HOOK(__tsan_unaligned_volatile_read##bytes, bytes, false, is_volatile) \
  COH_HOOK(__tsan_unaligned_volatile_write##bytes, bytes, true, is_volatile)
COH_HOOKS(1)
COH_HOOKS(2)
COH_HOOKS(4)
COH_HOOKS(8)
COH_HOOKS(16)
void __tsan_read_range(void* address, size_t bytes) {
  coh::check(uintptr_t(address), bytes, false, coh::Kind::plain, __builtin_return_address(0));
}
void __tsan_write_range(void* address, size_t bytes) {
  coh::check(uintptr_t(address), bytes, true, coh::Kind::plain, __builtin_return_address(0));
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
}

#else  // without the checker

namespace coh {
void begin_checked_launch() {}
void end_checked_launch() {}
void reset_reports() {}
void out_of_time() {
  if (running.running && current != &host) fail("%s", kTimeout);
}
void before_atomic(const volatile void*, unsigned) { maybe_preempt(); }
}  // namespace coh

extern "C" uint64_t coh_races() { return 0; }
#endif
