// The functions of dal_fast.h: arguments are checked, and nothing that is thrown leaves.
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <system_error>

#include "arithmetic.h"
#include "capi/dal_fast.h"
#include "capi/engine.h"
#include "capi/failure.h"
#include "capi/session.h"
#include "capi/structs.h"

namespace dal {
namespace {

int32_t report(const Failure& failure, dal_error* error) noexcept {
  uint32_t size = 0;
  if (error) std::memcpy(&size, error, sizeof size);
  if (size < first_size<dal_error>()) return failure.status;  // nowhere to say more
  error->status = failure.status;
  std::memcpy(error->code, failure.code, sizeof error->code);
  std::memcpy(error->message, failure.message, sizeof error->message);
  return failure.status;
}

Failure failure_of(int32_t status, const char* code, const char* message) noexcept {
  Failure failure{};
  failure.status = status;
  std::snprintf(failure.code, sizeof failure.code, "%s", code);
  std::snprintf(failure.message, sizeof failure.message, "%s", message);
  return failure;
}

template <class F>
int32_t guarded(dal_error* error, F&& body) noexcept {
  try {
    const UsualArithmetic usual;
    body();
    return DAL_OK;
  } catch (const Failure& failure) {
    return report(failure, error);
  } catch (const std::bad_alloc&) {
    return report(failure_of(DAL_MEMORY, "out-of-memory", "there is no more memory"), error);
  } catch (const std::exception& problem) {
    return report(failure_of(DAL_INTERNAL, "unexpected", problem.what()), error);
  } catch (...) {
    return report(failure_of(DAL_INTERNAL, "unexpected", "something unknown was thrown"), error);
  }
}

void need(const void* pointer, const char* name) {
  if (!pointer) fail(DAL_ARGUMENT, "value", "%s is NULL", name);
}

dal_options options_of(const dal_options* given) {
  return given ? taken(given, "dal_options") : dal_options{};
}

Memory memory_of(const dal_options& options) {
  if (!options.allocator) return Memory();
  const dal_allocator own = taken(options.allocator, "dal_allocator");
  if (!own.allocate || !own.release)
    fail(DAL_ARGUMENT, "value", "dal_allocator.allocate or release is NULL");
  check_reserved(own.reserved, "dal_allocator");
  return Memory(own.allocate, own.release, own.user);
}

[[noreturn]] void missing(const char* path, const char* why) {
  fail(DAL_BUNDLE, "weights-missing", "the bundle %.300s cannot be read: %.100s", path, why);
}

// The whole file, in memory of `bytes` bytes.
uint8_t* read_file(const Memory& memory, const char* path, size_t* bytes) {
  std::FILE* const file = std::fopen(path, "rbe");
  if (!file) missing(path, std::strerror(errno));
  struct Close {
    std::FILE* file;
    ~Close() { std::fclose(file); }
  } const own{file};
  constexpr long kLongest = 1L << 30;
  const long size = std::fseek(file, 0, SEEK_END) ? -1 : std::ftell(file);
  if (size <= 0 || size > kLongest || std::fseek(file, 0, SEEK_SET))
    missing(path, "it is no file of up to 1 GiB");
  uint8_t* const whole = static_cast<uint8_t*>(memory.take(static_cast<size_t>(size)));
  *bytes = static_cast<size_t>(size);
  if (std::fread(whole, 1, *bytes, file) == *bytes) return whole;
  memory.give(whole, *bytes);
  missing(path, "it ends too early");
}

}  // namespace
}  // namespace dal

using dal::guarded;

extern "C" {

uint32_t dal_abi(void) { return DAL_ABI; }

const char* dal_version(void) { return DAL_FAST_VERSION; }

int32_t dal_engine_open(const char* path, const dal_options* options, dal_engine** engine,
                        dal_error* error) {
  if (engine) *engine = nullptr;
  return guarded(error, [&] {
    dal::need(path, "path");
    dal::need(engine, "engine");
    const dal_options chosen = dal::options_of(options);
    const dal::Memory memory = dal::memory_of(chosen);
    size_t bytes = 0;
    uint8_t* const file = dal::read_file(memory, path, &bytes);
    *engine = dal::open_engine(memory, chosen, file, bytes);
  });
}

int32_t dal_engine_open_memory(const void* bundle, size_t bytes, const dal_options* options,
                               dal_engine** engine, dal_error* error) {
  if (engine) *engine = nullptr;
  return guarded(error, [&] {
    dal::need(bundle, "bundle");
    dal::need(engine, "engine");
    const dal_options chosen = dal::options_of(options);
    const dal::Memory memory = dal::memory_of(chosen);
    if (bytes < 8 || bytes > size_t(1) << 30)
      dal::fail(DAL_BUNDLE, "weights-corrupt", "a bundle has 8 bytes to 1 GiB, not %zu", bytes);
    uint8_t* const file = static_cast<uint8_t*>(memory.take(bytes));
    std::memcpy(file, bundle, bytes);
    *engine = dal::open_engine(memory, chosen, file, bytes);
  });
}

const char* dal_engine_fact(const dal_engine* engine, const char* name) {
  return engine && name ? engine->fact(name) : nullptr;
}

void dal_engine_close(dal_engine* engine) {
  if (engine) dal_engine::leave(engine);
}

int32_t dal_session_open(dal_engine* engine, const dal_limits* limits, dal_session** session,
                         dal_error* error) {
  if (session) *session = nullptr;
  return guarded(error, [&] {
    dal::need(engine, "engine");
    dal::need(session, "session");
    engine->check_process();
    const dal_limits chosen = limits ? dal::taken(limits, "dal_limits") : dal_limits{};
    *session = engine->memory.make<dal_session>(engine, dal::checked_limits(chosen));
  });
}

int32_t dal_session_bytes(const dal_session* session, size_t* bytes, dal_error* error) {
  return guarded(error, [&] {
    dal::need(session, "session");
    dal::need(bytes, "bytes");
    *bytes = session->arena.bytes() + sizeof *session;
  });
}

void dal_session_close(dal_session* session) {
  if (!session || session->engine->forked()) return;
  dal_engine* const engine = session->engine;
  engine->memory.destroy(session);
  dal_engine::leave(engine);
}

int32_t dal_run(dal_session* session, const dal_request* request, dal_summary* summary, dal_error* error) {
  return guarded(error, [&] {
    dal::need(session, "session");
    const dal_request chosen = dal::taken(request, "dal_request");
    if (summary) dal::size_of(summary, "dal_summary");
    session->engine->check_process();
    auto idle = dal::RunState::idle;
    if (!session->state.compare_exchange_strong(idle, dal::RunState::running, std::memory_order_acquire))
      dal::fail(DAL_ARGUMENT, "session-busy",
                "another dal_run is going on in this session; open one a thread");
    struct Free {
      dal_session* session;
      ~Free() { session->state.store(dal::RunState::idle, std::memory_order_release); }
    } const own{session};
    const dal_summary found = session->run(chosen);
    if (summary) dal::give_back(found, summary, "dal_summary");
  });
}

int32_t dal_cancel(dal_session* session) {
  if (!session) return DAL_ARGUMENT;
  auto running = dal::RunState::running;
  session->state.compare_exchange_strong(running, dal::RunState::cancelled, std::memory_order_relaxed);
  return DAL_OK;
}

int32_t dal_regions(const dal_session* session, size_t region_size, dal_region* regions, int32_t capacity,
                    dal_error* error) {
  return guarded(error, [&] {
    dal::need(session, "session");
    if (capacity < 0 || region_size < dal::kFirstRegionSize || region_size > dal::kLongestStruct)
      dal::fail(DAL_ARGUMENT, "value", "capacity is %d and region_size %zu; it is sizeof(dal_region)",
                capacity, region_size);
    if (capacity) dal::need(regions, "regions");
    if (session->state.load(std::memory_order_acquire) != dal::RunState::idle)
      dal::fail(DAL_ARGUMENT, "session-busy", "a dal_run is going on in this session");
    session->copy_regions(regions, region_size, capacity);
  });
}

}  // extern "C"
