// Engines that are opened, used by several threads at once, and closed, again and again; also in a forked
// child. Run under the thread and the address sanitizer by tests/test_parallel.py.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

extern "C" {
void* engine_open();
void engine_close(void* engine);
int64_t engine_run(void* engine, int64_t tasks, int threads);
}

namespace {

void expect(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "wrong: %s\n", what);
  std::abort();
}

void use(void* engine) {
  for (int64_t tasks = 1; tasks < 40; tasks += 3)
    expect(engine_run(engine, tasks, 3) == tasks * (tasks + 1), "the sum");
}

void in_a_child(void* engine) {
  const pid_t child = fork();
  if (child == 0) {
    use(engine);
    engine_close(engine);
    _exit(0);
  }
  int status = 1;
  expect(waitpid(child, &status, 0) == child && status == 0, "the child");
}

}  // namespace

int main(int count, char** words) {
  const int rounds = count > 1 ? std::atoi(words[1]) : 100;
  const bool forks = count > 2;
  for (int round = 0; round < rounds; ++round) {
    void* const engine = engine_open();
    std::vector<std::thread> callers;
    for (int i = 0; i < 3; ++i) callers.emplace_back(use, engine);
    for (std::thread& caller : callers) caller.join();
    if (forks) in_a_child(engine);
    engine_close(engine);
  }
  std::puts("done");
}
