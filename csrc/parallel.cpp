#include "parallel.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "arithmetic.h"
#include "pool.h"

namespace dal {
namespace {

// How long a thread spins on an event before it sleeps. Waking takes about as long, and the parallel parts
// of an op follow each other closely.
constexpr std::chrono::microseconds kSpinTime{50};

// Spins until happened() or until kSpinTime has passed; whether it happened.
template <class F>
bool spin_until(F&& happened) {
  const auto until = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < 16; ++i) {
      if (happened()) return true;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
  } while (std::chrono::steady_clock::now() < until);
  return false;
}

struct Job {
  int64_t tasks;
  void (*fn)(void*, int64_t, int);
  void* context;
  std::atomic<int64_t> next{0};
  std::atomic<int> next_slot{0};
  std::atomic<int> running{0};  // helpers inside, changed under Pool::mutex_
  int wanted = 0;  // helpers still to come; the job is in the queue while there are any
  Job* behind = nullptr;  // in the queue
};

void work(Job& job) {
  const int slot = job.next_slot.fetch_add(1, std::memory_order_relaxed);
  for (;;) {
    const int64_t task = job.next.fetch_add(1, std::memory_order_relaxed);
    if (task >= job.tasks) return;
    job.fn(job.context, task, slot);
  }
}

}  // namespace

class Pool {
 public:
  Pool() : owner_(getpid()) {}

  // Joins every thread; nobody may be inside run().
  ~Pool() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  // Does this process have the threads, or is it a child of the one that has?
  bool forked() const { return getpid() != owner_; }

  // The calling thread works, too, so the job is done even if no helper can be had.
  void run(Job& job, int helpers) {
    if (forked()) return work(job);  // whoever held the mutex is not here to give it back
    {
      std::lock_guard<std::mutex> lock(mutex_);
      wanted_ += helpers;
      start_threads(std::min(wanted_, std::max(helpers, processors())));
      job.wanted = helpers;
      append(&job);
    }
    wake_.notify_all();
    work(job);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      wanted_ -= helpers;
      if (job.wanted > 0) remove(&job);
    }
    if (spin_until([&] { return job.running == 0; })) return;
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [&] { return job.running == 0; });
  }

  // Threads for callers that will ask for `helpers` together, so that run() need not start any.
  void reserve(int helpers) {
    std::lock_guard<std::mutex> lock(mutex_);
    start_threads(helpers);
  }

 private:
  static int processors() { return static_cast<int>(std::thread::hardware_concurrency()); }

  // The queue is a list through the jobs themselves: nothing is allocated while a program works.
  void append(Job* job) {
    Job** end = &front_;
    while (*end) end = &(*end)->behind;
    *end = job;
    waiting_ += job->wanted;
  }

  void remove(Job* job) {
    Job** at = &front_;
    while (*at != job) at = &(*at)->behind;
    *at = job->behind;
    waiting_ -= job->wanted;
  }

  // As many threads as all present callers ask for together, so that they do not wait for each other. Not
  // more than there are processors, unless a single caller asks for more. Fewer where the system has no
  // more threads to give. Under the mutex.
  void start_threads(int most) {
    const auto few = [&] { return static_cast<int>(workers_.size()) < most; };
    if (!few()) return;
    // A signal is for the program's own threads: these start with all blocked but those that a thread
    // causes itself.
    sigset_t others, before;
    sigfillset(&others);
    for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&others, own);
    pthread_sigmask(SIG_SETMASK, &others, &before);
    try {
      while (few()) workers_.emplace_back([this] { serve(); });
    } catch (const std::exception&) {  // std::system_error or std::bad_alloc
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void serve();

  const pid_t owner_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  Job* front_ = nullptr;  // of the queue
  std::atomic<int> waiting_{0};  // helpers that its jobs still want, to be seen without the mutex
  std::vector<std::thread> workers_;
  bool stopping_ = false;
  int wanted_ = 0;  // helpers that the present callers ask for together
};

namespace {

thread_local Pool* chosen = nullptr;  // by UsePool
thread_local const Executor* lent = nullptr;  // by UseExecutor
thread_local bool inside = false;  // a task of somebody's executor

// Never destroyed: its workers may outlive static destruction. A forked child has none of the parent's
// threads, so it gets a fresh pool.
Pool* of_process = nullptr;

Pool& current_pool() {
  if (chosen) return *chosen;
  static std::once_flag once;
  std::call_once(once, [] {
    of_process = new Pool;
    pthread_atfork(nullptr, nullptr, [] { of_process = new Pool; });
  });
  return *of_process;
}

}  // namespace

void Pool::serve() {
  chosen = this;  // for tasks that have tasks of their own
  for (;;) {
    spin_until([&] { return waiting_ > 0; });
    std::unique_lock<std::mutex> lock(mutex_);
    wake_.wait(lock, [&] { return front_ || stopping_; });
    if (!front_) return;
    Job* const job = front_;
    if (job->wanted == 1) front_ = job->behind;
    --job->wanted;
    --waiting_;
    ++job->running;
    lock.unlock();
    work(*job);
    lock.lock();
    if (--job->running == 0) done_.notify_all();
  }
}

ThreadPool::ThreadPool() : pool_(new Pool) {}
ThreadPool::~ThreadPool() {
  if (!pool_->forked()) delete pool_;
}

void ThreadPool::reserve(int helpers) { pool_->reserve(helpers); }

UsePool::UsePool(const ThreadPool& pool) : before_(chosen) { chosen = pool.pool_; }
UsePool::~UsePool() { chosen = before_; }

UseExecutor::UseExecutor(const Executor& executor) : before_(lent) { lent = &executor; }
UseExecutor::~UseExecutor() { lent = before_; }

namespace {

// A task on a thread that is somebody else's, whose arithmetic may be another: tasks of its own are done at
// once, since the executor may not be called from within.
void lent_task(void* context, int64_t task, int32_t slot) {
  Job& job = *static_cast<Job*>(context);
  const UsualArithmetic usual;
  const bool before = inside;
  inside = true;
  job.fn(job.context, task, slot);
  inside = before;
}

}  // namespace

void run_tasks(int64_t tasks, int threads, void (*fn)(void*, int64_t, int), void* context) {
  if (tasks <= 0) return;
  const int wanted = static_cast<int>(std::min<int64_t>(threads, tasks));
  Job job{tasks, fn, context};
  if (wanted <= 1 || inside) {
    work(job);
  } else if (lent) {
    lent->run(lent->user, tasks, wanted, lent_task, &job);
  } else {
    current_pool().run(job, wanted - 1);
  }
}

}  // namespace dal
