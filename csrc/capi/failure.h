// Why a call fails, thrown inside the library and turned into a dal_error at its border.
#pragma once
#include <cstdint>

namespace dal {

struct Failure {
  int32_t status;  // of dal_fast.h
  char code[32];
  char message[472];
};

// `format` as of printf. Where a code is one of the Python package's, it means the same.
[[noreturn]] void fail(int32_t status, const char* code, const char* format, ...)
    __attribute__((format(printf, 3, 4)));

}  // namespace dal
