// Whose turn it is; barriers and warp operations.
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <stdexcept>

#include "internal.h"

namespace coh {

Thread* current = nullptr;
dim3 block_size, grid_size;
Settings settings;
Launch running;

namespace {

uint64_t random_state = 88172645463325252ull;
uint64_t until_preempted = 0;  // chances to be preempted that still pass

// Fibers that can run, in a ring.
class Queue {
 public:
  void reset(size_t fibers) {
    size_t size = 1;
    while (size < fibers + 1) size *= 2;
    ring_.assign(size, nullptr);
    head_ = count_ = 0;
  }
  bool empty() const { return count_ == 0; }
  void push(Fiber* fiber) {
    fiber->waiting = false;
    at(count_++) = fiber;
  }
  Fiber* pop() {
    if (settings.order == Order::random) std::swap(at(0), at(random_number() % count_));
    if (settings.order == Order::warps) std::swap(at(0), at(most_urgent()));
    Fiber* fiber = at(0);
    ++head_;
    --count_;
    return fiber;
  }

 private:
  Fiber*& at(size_t i) { return ring_[(head_ + i) & (ring_.size() - 1)]; }
  size_t most_urgent() {
    size_t best = 0;
    for (size_t i = 1; i < count_; ++i)
      if (at(i)->priority > at(best)->priority) best = i;
    return best;
  }
  std::vector<Fiber*> ring_;
  size_t head_ = 0, count_ = 0;
} ready;

void wait(const char* operation, Place at) {
  Fiber& me = *self();
  me.operation = operation;
  me.at = at;
  me.waiting = true;
}

// Everybody who waits in the block can run.
void wake(Block& block) {
  const size_t n = block.threads.size();
  for (size_t i = 0; i < n; ++i) {
    Fiber* fiber = block.threads[settings.order == Order::descending ? n - 1 - i : i];
    if (!fiber->done && fiber->waiting) ready.push(fiber);
  }
}

// Warps run far apart; their lanes, in any order.
void set_priorities(Block& block) {
  uint32_t of_warp[32];
  for (uint32_t& p : of_warp) p = uint32_t(random_number()) << 8;
  for (Fiber* fiber : block.threads) fiber->priority = of_warp[fiber->warp] | (random_number() & 255);
}

void open_barrier(Block& block) {
  block.result = {block.votes.yes, int(block.live)};
  block.arrived = 0;
  block.votes = {0, 0};
  block.barrier = {};
  ++block.epoch;
  wake(block);
}

// Nobody can run: either all is done or those who are left wait for each other.
void finish_or_deadlock() {
  std::map<std::string, int> waiting;
  for (auto& block : running.resident)
    for (Fiber* fiber : block->threads)
      if (!fiber->done)
        ++waiting[std::string(fiber->operation) + " at " + base_name(fiber->at.file) + ":" +
                  std::to_string(fiber->at.line)];
  if (waiting.empty()) return switch_to(host);
  std::string text = "deadlock";
  for (auto& [where, threads] : waiting)
    text += ", " + std::to_string(threads) + " threads wait in " + where;
  fail("%s", text.c_str());
}

unsigned live_lanes(const Block& block, unsigned warp) {
  unsigned live = 0;
  for (unsigned i = 0; i < 32 && warp * 32 + i < running.threads; ++i)
    if (!block.threads[warp * 32 + i]->done) live |= 1u << i;
  return live;
}

// The meeting of these lanes: one that waits for this lane, or a free one.
Meeting& meeting_of(unsigned mask, const char* operation, Place at) {
  const Fiber& me = *self();
  Meeting* empty = nullptr;
  for (Meeting& m : me.home->warps[me.warp]) {
    if (m.arrived && m.mask == mask) {
      if (m.at.line == at.line && !strcmp(m.operation, operation)) return m;
      fail("divergent warp operation: lane %u is in %s at %s:%d, others in %s at %s:%d", me.lane, operation,
           base_name(at.file), at.line, m.operation, base_name(m.at.file), m.at.line);
    }
    if (!m.arrived && !m.unread && !empty) empty = &m;
  }
  empty->mask = mask;
  empty->operation = operation;
  empty->at = at;
  return *empty;
}

// Returns when all lanes of the mask have come. The caller reads and then leaves.
Meeting& meet(unsigned mask, uint64_t mine, const char* operation, Place at) {
  Fiber& me = *self();
  const unsigned bit = 1u << me.lane, live = live_lanes(*me.home, me.warp);
  if (!(mask & bit))
    fail("%s:%d: lane %u calls %s with mask %08x, which leaves it out", base_name(at.file), at.line,
         me.lane, operation, mask);
  if (mask & ~live)
    fail("%s:%d: %s with mask %08x names lanes that have exited or do not exist (live: %08x)",
         base_name(at.file), at.line, operation, mask, live);
  Meeting& meeting = meeting_of(mask, operation, at);
  meeting.values[me.lane] = mine;
  meeting.arrived |= bit;
  wait(operation, at);
  if (meeting.arrived == mask) {
    uint32_t epoch = 0;
    Fiber* const* lanes = &me.home->threads[me.warp * 32];
    for (unsigned i = 0; i < 32; ++i)
      if (mask >> i & 1 && lanes[i]->warp_epoch > epoch) epoch = lanes[i]->warp_epoch;
    for (unsigned i = 0; i < 32; ++i)
      if (mask >> i & 1) {
        lanes[i]->warp_epoch = epoch + 1;
        ready.push(lanes[i]);
      }
    meeting.arrived = 0;
    meeting.unread = mask;
  }
  run_others();
  return meeting;
}

void leave(Meeting& meeting) { meeting.unread &= ~(1u << self()->lane); }

}  // namespace

uint64_t random_number() {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

void reset_queue(size_t fibers) { ready.reset(fibers); }

bool start_block(Block& block) {
  if (running.next_block == running.blocks.size()) return false;
  const uint64_t i = running.blocks[running.next_block++];
  const uint3 index{unsigned(i % grid_size.x), unsigned(i / grid_size.x % grid_size.y),
                    unsigned(i / grid_size.x / grid_size.y)};
  block.serial = running.next_serial++;
  block.live = running.threads;
  block.arrived = block.epoch = 0;
  block.votes = {0, 0};
  block.barrier = {};
  if (block.dynamic) memset(block.dynamic.get(), kFill, running.shared_bytes + kRedZone);
  poison_statics(block);
  for (Fiber* fiber : block.threads) {
    fiber->block = index;
    fiber->done = false;
    fiber->waiting = true;
    fiber->warp_epoch = 0;
  }
  if (settings.order == Order::warps) set_priorities(block);
  wake(block);
  return true;
}

void run_fiber() {
  after_first_switch();
  for (;;) {
    running.body(running.arguments);
    Fiber& me = *self();
    Block& block = *me.home;
    me.done = true;
    if (block.arrived)
      fail("a thread has exited while %u wait in __syncthreads at %s:%d", block.arrived,
           base_name(block.barrier.file), block.barrier.line);
    if (--block.live == 0) {
      if (block.dynamic && !is_filled(block.dynamic.get() + running.shared_bytes))
        fail("written outside of %zu bytes of dynamic shared memory", running.shared_bytes);
      start_block(block);
    }
    run_others();
  }
}

void run_others() {
  if (ready.empty()) return finish_or_deadlock();
  Fiber* next = ready.pop();
  if (next != current) switch_to(*next);
}

void pause() {
  if (ready.empty() || !running.running) return;
  self()->priority = uint32_t(random_number());
  ready.push(self());
  run_others();
}

void maybe_preempt() {
  if (!settings.preempt || until_preempted--) return;
  until_preempted = random_number() % (2000 / std::min(settings.preempt, 1000u));
  pause();
}

void stop(const std::string& message) {
  set_error(cudaErrorLaunchFailure, message);
  running.aborted = true;
  switch_to(host);
  abort();  // nobody continues a thread of a kernel that has failed
}

void fail(const char* format, ...) {
  char text[2000], where[300] = "";
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (!running.running) throw std::logic_error(text);
  const Thread& t = *current;
  snprintf(where, sizeof where, " [kernel %s, block (%u,%u,%u), thread (%u,%u,%u)]", running.name,
           t.block.x, t.block.y, t.block.z, t.thread.x, t.thread.y, t.thread.z);
  stop(std::string(text) + where);
  abort();
}

void* dyn_smem() { return self()->home->dynamic.get(); }

Votes sync_block(bool predicate, Place at) {
  Block& block = *self()->home;
  if (!block.arrived) block.barrier = at;
  if (block.barrier.line != at.line || strcmp(block.barrier.file, at.file))
    fail("divergent __syncthreads: this thread is at %s:%d, %u at %s:%d", base_name(at.file), at.line,
         block.arrived, base_name(block.barrier.file), block.barrier.line);
  if (block.live != running.threads)
    fail("%u threads have exited before __syncthreads at %s:%d", running.threads - block.live,
         base_name(at.file), at.line);
  block.votes.yes += predicate;
  wait("__syncthreads", at);
  if (++block.arrived == block.live) open_barrier(block);
  run_others();
  return block.result;
}

int lane() { return int(current->lane); }

uint64_t shuffle(unsigned mask, uint64_t mine, int source, const char* operation, Place at) {
  Meeting& meeting = meet(mask, mine, operation, at);
  if (!(mask >> source & 1))
    fail("%s:%d: %s reads lane %d, which is not in mask %08x", base_name(at.file), at.line, operation,
         source, mask);
  const uint64_t value = meeting.values[source];
  leave(meeting);
  return value;
}

void exchange(unsigned mask, uint64_t mine, uint64_t (&all)[32], const char* operation, Place at) {
  Meeting& meeting = meet(mask, mine, operation, at);
  memcpy(all, meeting.values, sizeof all);
  leave(meeting);
}

unsigned ballot(unsigned mask, bool mine, const char* operation, Place at) {
  Meeting& meeting = meet(mask, mine, operation, at);
  unsigned yes = 0;
  for (int i = 0; i < 32; ++i)
    if (mask >> i & 1 && meeting.values[i]) yes |= 1u << i;
  leave(meeting);
  return yes;
}

}  // namespace coh

extern "C" void coh_config(int order, uint64_t seed, int preempt, int resident) {
  using namespace coh;
  settings = {Order(order), unsigned(preempt), unsigned(resident < 1 ? 1 : resident)};
  random_state = seed * 0x9e3779b97f4a7c15ull + 88172645463325252ull;
  if (!random_state) random_state = 1;
  until_preempted = 0;
  switches = 0;
  set_error(cudaSuccess, "");
  reset_reports();
}
