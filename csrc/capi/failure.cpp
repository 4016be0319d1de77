#include "capi/failure.h"

#include <cstdarg>
#include <cstdio>

namespace dal {

void fail(int32_t status, const char* code, const char* format, ...) {
  Failure failure{};
  failure.status = status;
  std::snprintf(failure.code, sizeof failure.code, "%s", code);
  va_list values;
  va_start(values, format);
  std::vsnprintf(failure.message, sizeof failure.message, format, values);
  va_end(values);
  throw failure;
}

}  // namespace dal
