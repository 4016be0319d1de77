// Runs a target on random inputs where the compiler brings no fuzzer: TARGET [seconds [first seed]].
// A sanitizer's report, or a broken promise, ends with the seed that led there.
#include <chrono>
#include <random>

#include "fuzz.h"

extern "C" void __sanitizer_set_death_callback(void (*callback)(void));

namespace {

uint64_t seed = 1;

void tell() { std::fprintf(stderr, "fuzz: seed %llu\n", static_cast<unsigned long long>(seed)); }

}  // namespace

int main(int count, char** words) {
  using Clock = std::chrono::steady_clock;
  const double seconds = count > 1 ? std::atof(words[1]) : 10;
  if (count > 2) seed = std::strtoull(words[2], nullptr, 10);
  __sanitizer_set_death_callback(tell);
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  const uint64_t first = seed;
  do {
    std::mt19937_64 random(seed);
    std::vector<uint8_t> input(random() % 200);
    for (uint8_t& byte : input) byte = static_cast<uint8_t>(random());
    LLVMFuzzerTestOneInput(input.data(), input.size());
    ++seed;
  } while (Clock::now() < end);
  std::printf("%llu inputs, 0 findings\n", static_cast<unsigned long long>(seed - first));
}
