// Structs of a program that may have been compiled with another version of dal_fast.h.
#pragma once
#include <cstdint>
#include <cstring>

#include "capi/dal_fast.h"
#include "capi/failure.h"

namespace dal {

// How long each struct was in ABI 1; shorter ones never were. These numbers never change.
template <class T>
constexpr uint32_t first_size();
template <>
constexpr uint32_t first_size<dal_error>() {
  return 512;
}
template <>
constexpr uint32_t first_size<dal_image>() {
  return 240;
}
template <>
constexpr uint32_t first_size<dal_output>() {
  return 40;
}
template <>
constexpr uint32_t first_size<dal_request>() {
  return 56;
}
template <>
constexpr uint32_t first_size<dal_summary>() {
  return 192;
}
template <>
constexpr uint32_t first_size<dal_executor>() {
  return 24;
}
template <>
constexpr uint32_t first_size<dal_allocator>() {
  return 32;
}
template <>
constexpr uint32_t first_size<dal_options>() {
  return 64;
}
template <>
constexpr uint32_t first_size<dal_limits>() {
  return 40;
}
constexpr uint32_t kFirstRegionSize = 48;
constexpr uint32_t kLongestStruct = 4096;

template <class T>
uint32_t size_of(const T* given, const char* name) {
  uint32_t size = 0;
  std::memcpy(&size, given, sizeof size);
  if (size < first_size<T>() || size > kLongestStruct)
    fail(DAL_ARGUMENT, "value", "struct_size of %s is %u; set it to the size of that struct", name, size);
  return size;
}

// A copy, whose members that the program does not know are 0. What this library does not know must be 0.
template <class T>
T taken(const T* given, const char* name) {
  if (!given) fail(DAL_ARGUMENT, "value", "%s is NULL", name);
  const uint32_t size = size_of(given, name);
  T copy{};
  std::memcpy(&copy, given, size < sizeof copy ? size : sizeof copy);
  const char* const bytes = reinterpret_cast<const char*>(given);
  for (uint32_t i = sizeof copy; i < size; ++i)
    if (bytes[i])
      fail(DAL_UNSUPPORTED, "value", "%s sets what this library (dal_fast.h %d) does not know", name,
           DAL_ABI);
  return copy;
}

// What a later version may give a meaning.
inline void check_reserved(int32_t value, const char* name) {
  if (value) fail(DAL_UNSUPPORTED, "value", "reserved of %s is %d, not 0", name, value);
}

// As much of `result` as the program knows; its struct_size stays.
template <class T>
void give_back(const T& result, T* to, const char* name) {
  const uint32_t size = size_of(to, name), known = size < sizeof result ? size : sizeof result;
  std::memcpy(reinterpret_cast<char*>(to) + sizeof size,
              reinterpret_cast<const char*>(&result) + sizeof size, known - sizeof size);
}

}  // namespace dal
