// Stacks and the switch between them.
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <new>

#include "internal.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace coh {

#ifdef __SANITIZE_ADDRESS__
constexpr size_t kStack = 256 << 10;  // bytes, with red zones
#else
constexpr size_t kStack = 128 << 10;
#endif

uint64_t switches = 0;
Fiber host;

#ifndef COH_UCONTEXT
// Saves what a called function must keep, then continues on the other stack; the return address is there.
extern "C" void coh_switch(void** save, void* to);
asm(R"(
.text
.p2align 4
.globl coh_switch
.hidden coh_switch
.type coh_switch,@function
coh_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp,(%rdi)
  mov %rsi,%rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size coh_switch,.-coh_switch
)");
#endif

std::unique_ptr<Fiber> make_fiber() {
  const size_t guard = size_t(sysconf(_SC_PAGESIZE));  // an overflow ends in a fault, not in a neighbour
  void* memory = mmap(nullptr, guard + kStack, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory, guard, PROT_NONE);
  auto fiber = std::make_unique<Fiber>();
  fiber->stack_low = static_cast<char*>(memory) + guard;
  fiber->stack_high = fiber->stack_low + kStack;
  return fiber;
}

void arm(Fiber& fiber, [[maybe_unused]] unsigned index, void (*entry)()) {
#ifdef __SANITIZE_ADDRESS__
  ASAN_UNPOISON_MEMORY_REGION(fiber.stack_low, kStack);
  fiber.fake_stack = nullptr;
#endif
#ifdef COH_UCONTEXT
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack_low;
  fiber.context.uc_stack.ss_size = kStack;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, entry, 0);
#else
  // Tops differ, or the frames of all threads would fall into the same sets of the cache.
  void** top = reinterpret_cast<void**>(fiber.stack_high - index % 21 * 192);
  *--top = nullptr;  // entry's return address
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  fiber.stack_pointer = top;
#endif
  fiber.done = true;
}

void switch_to(Fiber& to) {
  Fiber& from = *self();
  ++switches;
  current = &to;
  if (to.home) bring_statics(*to.home);
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&from.fake_stack, to.stack_low, size_t(to.stack_high - to.stack_low));
#endif
#ifdef COH_UCONTEXT
  swapcontext(&from.context, &to.context);
#else
  coh_switch(&from.stack_pointer, to.stack_pointer);
#endif
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

void after_first_switch() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

void adopt_stack([[maybe_unused]] Fiber& fiber) {
#ifdef __SANITIZE_ADDRESS__
  static pthread_t owner;
  if (fiber.stack_low && pthread_equal(owner, pthread_self())) return;
  owner = pthread_self();
  pthread_attr_t attributes;
  void* low;
  size_t bytes;
  pthread_getattr_np(owner, &attributes);
  pthread_attr_getstack(&attributes, &low, &bytes);
  pthread_attr_destroy(&attributes);
  fiber.stack_low = static_cast<char*>(low);
  fiber.stack_high = fiber.stack_low + bytes;
#endif
}

}  // namespace coh
