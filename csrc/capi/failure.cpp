#include "capi/failure.h"

#include <cstdarg>
#include <cstdio>

namespace dal {
namespace {

// Bytes of the UTF-8 sequence that begins here; 0 where none does.
int sequence(const unsigned char* at) {
  const unsigned char first = at[0];
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  const int bytes = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  const int least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const int most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (at[1] < least || at[1] > most) return 0;
  for (int i = 2; i < bytes; ++i)
    if ((at[i] & 0xc0) != 0x80) return 0;
  return bytes;
}

// A name out of a damaged file, and a text that was cut off, need not be UTF-8; what is not becomes '?'.
void make_utf8(char* text) {
  auto* at = reinterpret_cast<unsigned char*>(text);
  while (*at) {
    const int bytes = sequence(at);
    if (!bytes) *at = '?';
    at += bytes ? bytes : 1;
  }
}

}  // namespace

void fail(int32_t status, const char* code, const char* format, ...) {
  Failure failure{};
  failure.status = status;
  std::snprintf(failure.code, sizeof failure.code, "%s", code);
  va_list values;
  va_start(values, format);
  std::vsnprintf(failure.message, sizeof failure.message, format, values);
  va_end(values);
  make_utf8(failure.message);
  throw failure;
}

}  // namespace dal
