// Runs at the same time, runs that end early, and runs on threads whose arithmetic is another.
#include <xmmintrin.h>

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <chrono>
#include <clocale>
#include <thread>

#include "host.h"

namespace host {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

void join(std::vector<std::thread>& threads) {
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

void sixteen_sessions_at_once() {
  const Engine engine(bundle(), 3);
  std::vector<Brain> brains;
  std::vector<Found> wanted;
  for (uint64_t i = 0; i < 16; ++i) {
    brains.emplace_back(i, 20 + int64_t(i % 3), 24, 18 + int64_t(i % 5));
    wanted.push_back(Session(engine).run(brains.back()));
    CHECK(wanted.back().outcome.is(DAL_OK, ""), wanted.back().outcome.words());
  }
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 16; ++i)
    threads.emplace_back([&, i] {
      const Session session(engine, i % 2);
      for (int again = 0; again < 2; ++again) CHECK(session.run(brains[i]).same(wanted[i]));
    });
  join(threads);
}

void two_runs_in_one_session() {
  BundleOptions options;
  options.network_milliseconds = 5;
  const Engine engine(bundle(options));
  const Session session(engine);
  const Brain brain;
  const Found wanted = session.run(brain);
  std::atomic<int> screened{0}, refused{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int again = 0; again < 5; ++again) {
        const Found found = session.run(brain);
        if (found.outcome.is(DAL_ARGUMENT, "session-busy")) {
          ++refused;
        } else {
          CHECK(found.map == wanted.map, found.outcome.words());
          ++screened;
        }
      }
    });
  join(threads);
  CHECK(screened >= 5 && refused >= 1 && screened + refused == 20);
  CHECK(session.run(brain).same(wanted));
}

void two_hundred_cancels() {
  BundleOptions options;
  options.network_milliseconds = 20;
  const Engine engine(bundle(options));
  const Session session(engine, true);
  const Brain brain;
  const auto begin = Clock::now();
  const Found wanted = session.run(brain);
  const double whole = since(begin);
  std::mt19937_64 random(3);
  std::vector<double> late;
  int screened = 0;
  for (int i = 0; i < 200; ++i) {
    std::atomic<int64_t> asked{0};
    const auto pause = std::chrono::duration<double>(1.1 * whole * double(random() % 1000) / 1000);
    std::thread other([&] {
      std::this_thread::sleep_for(pause);
      asked = Clock::now().time_since_epoch().count();
      CHECK(dal_cancel(session.handle) == DAL_OK);
    });
    const Found found = session.run(brain);
    const auto ended = Clock::now().time_since_epoch().count();
    other.join();
    if (found.outcome.status == DAL_OK) {
      CHECK(found.same(wanted));
      ++screened;
      continue;
    }
    CHECK(found.outcome.is(DAL_CANCELLED, "cancelled"), found.outcome.words());
    late.push_back(double(ended - asked) * 1e-9);
  }
  CHECK(late.size() >= 50);
  std::sort(late.begin(), late.end());
  std::printf("%zu of 200 cancelled, %.1f ms later in the median, %.1f ms at most; %d were done before\n",
              late.size(), 1e3 * late[late.size() / 2], 1e3 * late.back(), screened);
  CHECK(session.run(brain).same(wanted));
}

// One that meets no run must not end the next.
void a_cancel_that_comes_late() {
  const Engine engine(bundle());
  const Session session(engine);
  const Brain brain;
  const Found wanted = session.run(brain);
  Brain refused;
  refused.shape[0] = 1;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds / 2);
  while (Clock::now() < end) {
    std::atomic<bool> stop{false};
    std::thread other([&] {
      while (!stop) dal_cancel(session.handle);
    });
    for (int i = 0; i < 50; ++i) CHECK(session.run(refused).outcome.is(DAL_INPUT, "too-small"));
    stop = true;
    other.join();
    const Found found = session.run(brain);
    CHECK(found.same(wanted), found.outcome.words());
  }
}

void deadlines() {
  BundleOptions options;
  options.network_milliseconds = 50;
  const Engine engine(bundle(options));
  const Session session(engine, true);
  const Brain brain;
  const Found wanted = session.run(brain);
  for (const int64_t milliseconds : {1, 10, 40})
    for (const bool mask : {true, false})
      CHECK(session.run(brain, milliseconds, mask).outcome.is(DAL_DEADLINE, "timed-out"));
  CHECK(session.run(brain, -1).outcome.is(DAL_ARGUMENT, "value"));
  CHECK(session.run(brain, 600'000).same(wanted));
}

namespace {

#if defined(__x86_64__)
constexpr unsigned kFlush = 0x8040;  // results and operands
void flush_denormals() { _mm_setcsr(_mm_getcsr() | kFlush); }
bool flushes_denormals() { return (_mm_getcsr() & kFlush) == kFlush; }
#else
void flush_denormals() {}
bool flushes_denormals() { return true; }
#endif

// The outer shell holds denormal numbers of float32.
Brain faint() {
  Brain brain(4);
  for (float& value : brain.scan) value *= 2e-40f;
  return brain;
}

}  // namespace

void odd_arithmetic() {
  const std::vector<uint8_t> content = bundle();
  const Engine engine(content, 3);
  const Session session(engine, true);
  const Brain brain, dark = faint();
  const Found wanted = session.run(brain), head = session.run(brain, 0, false), faintly = session.run(dark);
  CHECK(wanted.outcome.is(DAL_OK, ""), wanted.outcome.words());
  const auto compare = [&] {
    CHECK(session.run(brain).same(wanted));
    CHECK(session.run(brain, 0, false).same(head));
    CHECK(session.run(dark).same(faintly));
    const Engine other(content, 2);
    CHECK(other.opened.is(DAL_OK, ""), other.opened.words());
    CHECK(Session(other).run(brain).same(wanted));
  };
  for (const int mode : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
    std::fesetround(mode);
    compare();
    CHECK(std::fegetround() == mode);
  }
  std::fesetround(FE_TONEAREST);
  flush_denormals();
  compare();
  CHECK(flushes_denormals());
  bool there = false;
  for (const char* const name : {"de_DE.UTF-8", "de_DE.utf8", "de_DE"})
    there = there || std::setlocale(LC_ALL, name);
  if (there) {
    compare();
    CHECK(*std::localeconv()->decimal_point == ',');
  }
  std::printf("three ways of rounding, denormals flushed, %s\n",
              there ? "German numbers" : "no German locale here");
}

namespace {

// Each task on a thread of its own, as odd as can be.
void run_oddly(void*, int64_t tasks, int32_t threads, void (*task)(void*, int64_t, int32_t),
               void* context) {
  std::atomic<int64_t> next{0};
  std::vector<std::thread> all;
  for (int32_t slot = 0; slot < threads; ++slot)
    all.emplace_back([&, slot] {
      flush_denormals();
      std::fesetround(FE_UPWARD);
      for (int64_t i = next++; i < tasks; i = next++) task(context, i, slot);
      CHECK(std::fegetround() == FE_UPWARD && flushes_denormals());
    });
  join(all);
}

}  // namespace

void odd_arithmetic_of_lent_threads() {
  const dal_executor executor = {sizeof executor, 0, nullptr, run_oddly};
  const Engine own(bundle(), 3), lent(bundle(), 3, nullptr, &executor);
  const Session first(own), second(lent);
  for (const Brain& brain : {Brain(), faint()}) {
    const Found wanted = first.run(brain), found = second.run(brain);
    CHECK(found.same(wanted), found.outcome.words());
  }
}

}  // namespace host
