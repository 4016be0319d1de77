// A table of named runs, for Python to call through ctypes.
#pragma once
#include <stdexcept>
#include <string>
#include <vector>

#include "gpu.h"

using dal::cuda::check_launch;

struct Sample {
  const char* name;
  void (*run)();  // throws what is wrong
};

inline void expect(bool right, const std::string& what) {
  if (!right) throw std::runtime_error("wrong result: " + what);
}

// Exports name(i), null past the last, and run(i): "" or what is wrong.
#define EXPORT_SAMPLES(samples)                                        \
  extern "C" const char* name(int i) {                                 \
    return size_t(i) < std::size(samples) ? samples[i].name : nullptr; \
  }                                                                    \
  extern "C" const char* run(int i) {                                  \
    static std::string message;                                        \
    message.clear();                                                   \
    try {                                                              \
      samples[i].run();                                                \
    } catch (const std::exception& error) {                            \
      message = error.what();                                          \
    }                                                                  \
    return message.c_str();                                            \
  }
