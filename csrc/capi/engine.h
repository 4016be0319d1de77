// dal_engine: an opened bundle and what runs it.
#pragma once
#include <sys/types.h>

#include <atomic>
#include <mutex>
#include <optional>

#include "bundle/bundle.h"
#include "capi/dal_fast.h"
#include "capi/memory.h"
#include "capi/settings.h"
#include "engine/engine.h"
#include "pool.h"

namespace dal {
// Whether networks are compiled when an engine is opened, or when a session first needs them.
enum class Compile { now, when_needed };
// The engine of a bundle that lies in memory taken from `memory`, which is the engine's from now on, also
// when this throws.
dal_engine* open_engine(const Memory& memory, const dal_options& options, uint8_t* file, size_t bytes,
                        Compile when = Compile::now);
}  // namespace dal

struct dal_engine {
  // See open_engine.
  dal_engine(const dal::Memory& memory, const dal_options& options, uint8_t* file, size_t bytes,
             dal::Compile when);
  ~dal_engine();
  dal_engine(const dal_engine&) = delete;
  dal_engine& operator=(const dal_engine&) = delete;

  // A network, compiled and compared with its golden output when it is first asked for.
  dal::engine::Network& network(dal::Part part);
  // Is this a child of the process that opened it? Threads do not come along, so nothing works there.
  bool forked() const;
  // Refuses such a child.
  void check_process() const;
  void say(int32_t level, const char* format, ...) const __attribute__((format(printf, 3, 4)));
  // Null without.
  const char* fact(const char* name) const;

  // One more session, or one less; the engine goes with the last that used it. In a forked child it stays:
  // whoever waits there for threads that are not there waits for ever.
  void use() { users_.fetch_add(1, std::memory_order_relaxed); }
  static void leave(dal_engine* engine) noexcept;
  // Threads for so many sessions at a time.
  void reserve_threads();
  void session_closed() { sessions_.fetch_sub(1); }

  const dal::Memory memory;
  const dal::Block file;
  const int32_t threads;
  std::optional<dal::Executor> executor;
  dal::ThreadPool pool;
  dal::Block path, cache;  // the caller's texts, copied
  const dal::Bundle bundle;
  const dal::Settings settings;

 private:
  void open(const dal_options& options, dal::Compile when);
  dal::engine::Network* compile(dal::Part part);
  void compare(dal::Part part, dal::engine::Network& network);

  const pid_t process_;
  void (*const log_)(void*, int32_t, const char*);
  void* const log_user_;
  std::atomic<int> users_{1}, sessions_{0};
  bool bf16_ = false;
  std::mutex mutex_;  // of what follows
  dal::engine::Engine* engine_ = nullptr;
  dal::engine::Network* networks_[dal::kParts] = {};
};
