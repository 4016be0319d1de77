// What the host runs out of: memory, threads, a working engine; and processes that fork or end too early.
#include <dlfcn.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "host.h"

namespace {

std::atomic<int64_t> threads_left{INT64_MAX};

}  // namespace

// Comes before libpthread's: there are no more threads once `threads_left` is used up.
extern "C" __attribute__((visibility("default"))) int pthread_create(pthread_t* thread,
                                                                     const pthread_attr_t* attributes,
                                                                     void* (*start)(void*),
                                                                     void* argument) {
  using Function = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "pthread_create"));
  if (threads_left.fetch_sub(1) <= 0) return EAGAIN;
  return real(thread, attributes, start, argument);
}

namespace host {
namespace {

// Memory that is counted, and ends at a call.
class Accounts {
 public:
  explicit Accounts(int64_t fails_at = 0) : fails_at_(fails_at) {}
  ~Accounts() { CHECK(held_.empty(), std::to_string(held_.size()) + " blocks are held"); }

  dal_allocator hooks() {
    const auto allocate = [](void* user, size_t bytes, size_t alignment) {
      return static_cast<Accounts*>(user)->allocate(bytes, alignment);
    };
    const auto release = [](void* user, void* memory, size_t bytes) {
      static_cast<Accounts*>(user)->release(memory, bytes);
    };
    return {sizeof(dal_allocator), 0, this, allocate, release};
  }
  int64_t calls() const { return calls_; }

 private:
  void* allocate(size_t bytes, size_t alignment) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (++calls_ == fails_at_) return nullptr;
    void* memory = nullptr;
    CHECK(posix_memalign(&memory, alignment, bytes) == 0);
    held_[memory] = bytes;
    return memory;
  }
  void release(void* memory, size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = held_.find(memory);
    CHECK(found != held_.end() && found->second == bytes);
    held_.erase(found);
    std::free(memory);
  }

  const int64_t fails_at_;
  int64_t calls_ = 0;
  std::mutex mutex_;
  std::unordered_map<void*, size_t> held_;
};

}  // namespace

void memory_that_ends_at_every_call() {
  const std::vector<uint8_t> content = bundle();
  const Brain brain;
  int64_t needed = 0;
  for (int64_t k = 0; k <= needed; ++k) {
    Accounts accounts(k);
    const dal_allocator hooks = accounts.hooks();
    const Engine engine(content, 2, &hooks);
    Outcome ended = engine.opened;
    if (ended.status == DAL_OK) {
      const Session session(engine, true);
      ended = session.opened;
      const int64_t before = accounts.calls();
      if (ended.status == DAL_OK) {
        CHECK(session.run(brain).outcome.is(DAL_OK, ""));
        CHECK(session.run(brain, 0, false).outcome.is(DAL_OK, ""));
        CHECK(accounts.calls() == before);
        needed = before;
      }
    }
    CHECK(k ? ended.is(DAL_MEMORY, "out-of-memory") : ended.is(DAL_OK, ""),
          std::to_string(k) + " " + ended.words());
  }
  CHECK(needed > 10);
  std::printf("%lld calls of the allocator, none of them in dal_run\n", (long long)needed);
}

void an_engine_that_fails_at_every_call() {
  const std::vector<uint8_t> content = bundle();
  const Brain brain;
  fake_fails_at(0);
  Found wanted;
  {
    const Engine engine(content);
    const Session session(engine, true);
    wanted = session.run(brain, 0, false);
    CHECK(wanted.outcome.is(DAL_OK, ""), wanted.outcome.words());
  }
  const int64_t calls = fake_fails_at(0);
  int64_t survived = 0;
  for (int64_t k = 1; k <= calls; ++k) {
    fake_fails_at(k);
    const Engine engine(content);
    Outcome ended = engine.opened;
    if (ended.status == DAL_OK) {
      const Session session(engine, true);
      ended = session.opened;
      if (ended.status == DAL_OK) {
        const Found found = session.run(brain, 0, false);
        ended = found.outcome;
        survived += found.same(wanted);
        if (ended.status != DAL_OK) CHECK(session.run(brain, 0, false).same(wanted));
      }
    }
    CHECK(ended.status == DAL_OK || ended.status == DAL_ENGINE, std::to_string(k) + " " + ended.words());
  }
  fake_fails_at(0);
  // the version is for show; four element types are not the one looked for
  CHECK(survived == 5, std::to_string(survived));
  std::printf("%lld calls of the engine's library\n", (long long)calls);
}

void an_engine_that_lies() {
  const auto opened = [](const char* behaviour) {
    BundleOptions options;
    options.behaviour = behaviour;
    return Engine(bundle(options)).opened;
  };
  CHECK(opened("").is(DAL_OK, ""));
  CHECK(opened("offset 1").is(DAL_ENGINE, "engine-parity"));
  CHECK(opened("nan 1").is(DAL_ENGINE, "engine-failed"));
  CHECK(opened("shape 1").is(DAL_ENGINE, "engine-failed"));
  CHECK(opened("half 1").is(DAL_ENGINE, "engine-failed"));
  // one that computes what it should, until it is given a scan
  BundleOptions later;
  later.behaviour = "nan 1000";
  const Engine engine(bundle(later));
  const Found found = Session(engine).run(Brain());
  CHECK(found.outcome.is(DAL_ENGINE, "engine-failed"), found.outcome.words());
  // a library without OpenVINO's functions
  const char* const before = engine_path;
  Dl_info about = {};
  CHECK(dladdr(reinterpret_cast<void*>(dal_run), &about));
  engine_path = about.dli_fname;
  const Outcome ended = Engine(bundle()).opened;
  CHECK(ended.is(DAL_ENGINE, "runtime-unavailable") && std::strstr(ended.error.message, "too old"),
        ended.words());
  engine_path = before;
}

void threads_that_are_refused() {
  const Brain brain;
  const std::vector<uint8_t> content = bundle();
  const Found wanted = Session(Engine(content, 4)).run(brain);
  CHECK(wanted.outcome.is(DAL_OK, ""));
  int64_t opened = 0;
  for (int64_t k = 0; k < 12; ++k) {
    threads_left = k;
    {
      const Engine engine(content, 4);  // the engine's library has threads, too
      CHECK(engine.opened.status == DAL_OK || engine.opened.status == DAL_ENGINE, engine.opened.words());
      const Session session(engine);
      if (engine.opened.status == DAL_OK && session.opened.status == DAL_OK) {
        CHECK(session.run(brain).same(wanted));
        ++opened;
      }
    }
    threads_left = INT64_MAX;
  }
  CHECK(opened >= 4);
}

namespace {

// Has a child do something; it must not hang.
template <class F>
void in_a_child(F&& body) {
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    alarm(60);
    body();
    _exit(0);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child && status == 0, std::to_string(status));
}

}  // namespace

void a_fork_before_and_after_opening() {
  const std::vector<uint8_t> content = bundle();
  const Brain brain;
  const char* const there = engine_path;
  engine_path = "/nowhere";  // what could not be loaded has no threads that a fork would lose
  CHECK(Engine(content).opened.is(DAL_ENGINE, "runtime-unavailable"));
  engine_path = there;
  in_a_child([&] {
    const Engine engine(content);
    CHECK(engine.opened.is(DAL_OK, ""), engine.opened.words());
    CHECK(Session(engine).run(brain).outcome.is(DAL_OK, ""));
  });
  const Engine engine(content, 3);
  const Session session(engine);
  const Found wanted = session.run(brain);
  for (int again = 0; again < 2; ++again)
    in_a_child([&] {
      CHECK(session.run(brain).outcome.is(DAL_UNSUPPORTED, "runtime-unavailable"));
      CHECK(Session(engine).opened.is(DAL_UNSUPPORTED, "runtime-unavailable"));
      CHECK(Engine(content).opened.is(DAL_ENGINE, "runtime-unavailable"));
      dal_session_close(session.handle);
      dal_engine_close(engine.handle);
    });
  CHECK(session.run(brain).same(wanted));
}

void an_exit_during_a_run() {
  BundleOptions options;
  options.network_milliseconds = 100;
  for (int again = 0; again < 5; ++again)
    in_a_child([&] {
      // never destroyed: the run goes on until the very end
      static const auto* const engine = new Engine(bundle(options), 3);
      static const auto* const session = new Session(*engine);
      static const auto* const brain = new Brain;
      static std::atomic<bool> begun{false};
      std::thread([] {
        begun = true;
        session->run(*brain);
      }).detach();
      while (!begun) std::this_thread::yield();
      usleep(static_cast<useconds_t>(20'000 * again));
      std::exit(0);
    });
}

}  // namespace host
