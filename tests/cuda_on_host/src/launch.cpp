// A launch from its checks to its end.
#include <pthread.h>
#include <sys/time.h>

#include <csignal>
#include <cstdlib>
#include <map>
#include <mutex>
#include <utility>

#include "coh/runtime.h"
#include "internal.h"

namespace coh {
namespace {

constexpr size_t kSharedBytes = 48 << 10, kMostSharedBytes = 227 << 10;  // without asking, and at most

std::mutex one_launch;  // at a time: whichever thread comes
std::vector<std::unique_ptr<Fiber>> fibers;
std::map<const void*, int> allowed_shared_bytes;
pthread_t launching;

// A kernel that never ends fails after COH_TIMEOUT seconds of the process's time.
void on_timer(int) {
  if (!pthread_equal(pthread_self(), launching)) {
    pthread_kill(launching, SIGVTALRM);
    return;
  }
  out_of_time();
}

class Timer {
 public:
  Timer() {
    static const int seconds = [] {
      const char* text = getenv("COH_TIMEOUT");
      return text ? atoi(text) : 200;
    }();
    launching = pthread_self();
    struct sigaction action{};
    action.sa_handler = on_timer;
    action.sa_flags = SA_NODEFER | SA_RESTART;  // it does not return
    sigaction(SIGVTALRM, &action, &before_);
    set(seconds);
  }
  ~Timer() {
    set(0);
    sigaction(SIGVTALRM, &before_, nullptr);
  }

 private:
  static void set(int seconds) {
    const itimerval time{{0, 0}, {seconds, 0}};
    setitimer(ITIMER_VIRTUAL, &time, nullptr);
  }
  struct sigaction before_{};
};

const char* why_not(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes) {
  const uint64_t threads = uint64_t(block.x) * block.y * block.z;
  if (!threads || !grid.x || !grid.y || !grid.z) return "empty grid or block";
  if (threads > 1024 || block.x > 1024 || block.y > 1024 || block.z > 64) return "the block is too large";
  if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) return "the grid is too large";
  const auto allowed = allowed_shared_bytes.find(kernel);
  if (shared_bytes > (allowed == allowed_shared_bytes.end() ? kSharedBytes : size_t(allowed->second)))
    return "more dynamic shared memory than allowed; cudaFuncSetAttribute allows more than 48 KB";
  if (running.running) return "a kernel cannot launch another";
  return nullptr;
}

// Blocks of the grid, in the order in which they start.
std::vector<uint64_t> order_of(dim3 grid) {
  std::vector<uint64_t> blocks(uint64_t(grid.x) * grid.y * grid.z);
  const size_t n = blocks.size();
  for (size_t i = 0; i < n; ++i) blocks[i] = settings.order == Order::descending ? n - 1 - i : i;
  if (settings.order == Order::random)
    for (size_t i = n; i > 1; --i) std::swap(blocks[i - 1], blocks[random_number() % i]);
  return blocks;
}

std::unique_ptr<Block> make_block(unsigned slot, dim3 size, size_t shared_bytes) {
  auto block = std::make_unique<Block>();
  const unsigned threads = running.threads;
  block->slot = slot;
  block->warps.resize((threads + 31) / 32);
  void* dynamic = nullptr;
  if (shared_bytes && posix_memalign(&dynamic, 128, shared_bytes + kRedZone)) throw std::bad_alloc();
  block->dynamic.reset(static_cast<char*>(dynamic));
  for (unsigned i = 0; i < threads; ++i) {
    Fiber* fiber = fibers[slot * threads + i].get();
    fiber->home = block.get();
    fiber->linear = i;
    fiber->lane = i % 32;
    fiber->warp = i / 32;
    fiber->thread = {i % size.x, i / size.x % size.y, i / size.x / size.y};
    block->threads.push_back(fiber);
  }
  return block;
}

void arm_all(size_t from) {
  for (size_t i = from; i < fibers.size(); ++i) arm(*fibers[i], unsigned(i), run_fiber);
}

}  // namespace

cudaError_t allow_shared_bytes(const void* kernel, int bytes) {
  if (size_t(bytes) > kMostSharedBytes) {
    set_error(cudaErrorInvalidValue, "a block cannot have more than 227 KB of shared memory");
    return cudaErrorInvalidValue;
  }
  allowed_shared_bytes[kernel] = bytes;
  return cudaSuccess;
}

void launch_body(const void* kernel, const char* name, dim3 grid, dim3 block, size_t shared_bytes,
                 void (*body)(void*), void* arguments) {
  if (const char* reason = why_not(kernel, grid, block, shared_bytes))
    return set_error(cudaErrorInvalidConfiguration, std::string(reason) + " [kernel " + name + "]");
  const std::lock_guard<std::mutex> lock(one_launch);
  block_size = block;
  grid_size = grid;
  running.kernel = kernel;
  running.name = name;
  running.threads = block.x * block.y * block.z;
  running.shared_bytes = shared_bytes;
  running.body = body;
  running.arguments = arguments;
  running.aborted = false;
  running.blocks = order_of(grid);
  running.next_block = 0;
  running.first_serial = running.next_serial;
#ifdef __SANITIZE_ADDRESS__
  const size_t resident = 1;  // plain static arrays cannot be swapped
#else
  const size_t resident = std::min<size_t>(settings.resident, running.blocks.size());
#endif
  const size_t had = fibers.size();
  while (fibers.size() < resident * running.threads) fibers.push_back(make_fiber());
  arm_all(had);
  reset_queue(resident * running.threads);
  running.resident.clear();
  for (unsigned slot = 0; slot < resident; ++slot)
    running.resident.push_back(make_block(slot, block, shared_bytes));
  locate_statics(kernel);
  begin_checked_launch();
  for (auto& b : running.resident) start_block(*b);
  adopt_stack(host);
  {
    const Timer timer;
    current = &host;
    running.running = true;
    run_others();
    running.running = false;
    current = nullptr;
  }
  if (running.aborted) arm_all(0);
  check_red_zones();
  end_checked_launch();
}

}  // namespace coh
