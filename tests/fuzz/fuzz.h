// What every fuzz target needs: choices and volumes drawn from the fuzzer's bytes, buffers of the exact
// size, and runs that must agree for every instruction set and number of threads.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <thread>
#include <vector>

#include "dtype.h"
#include "isa.h"

namespace fuzz {

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
}

// Choices come from the input while it lasts, then from a generator that the input seeds.
class Source {
 public:
  Source(const uint8_t* data, size_t size) : data_(data), size_(size) {
    for (size_t i = 0; i < size; ++i) state_ = (state_ ^ data[i]) * 0x100000001b3;
  }

  int64_t number(int64_t low, int64_t high) {
    uint64_t drawn = 0;
    for (int i = 0; i < 2; ++i) drawn = drawn << 8 | byte();
    return low + static_cast<int64_t>(drawn % static_cast<uint64_t>(high - low + 1));
  }
  bool coin() { return byte() & 1; }
  double share() { return static_cast<double>(number(0, 65535)) / 65535; }
  // In [0, 1), from the generator: for the many values of a volume.
  double random() { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  uint8_t byte() { return at_ < size_ ? data_[at_++] : static_cast<uint8_t>(next()); }
  uint64_t next() {
    state_ += 0x9e3779b97f4a7c15;
    uint64_t z = (state_ ^ state_ >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }

  const uint8_t* data_;
  size_t size_, at_ = 0;
  uint64_t state_ = 0xcbf29ce484222325;
};

// Memory that ends where it ends. `offset` bytes lie before it: kernels may not count on more alignment
// than an element's, but for scratch.
class Buffer {
 public:
  explicit Buffer(int64_t bytes, int64_t offset = 0) : bytes_(bytes) {
    const int64_t whole = bytes + offset;
    if (posix_memalign(&base_, 64, static_cast<size_t>(whole ? whole : 1))) fail("no memory");
    start_ = static_cast<uint8_t*>(base_) + offset;
    std::memset(start_, 0xA5, static_cast<size_t>(bytes));
  }
  ~Buffer() { std::free(base_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  template <class T>
  T* as() {
    return reinterpret_cast<T*>(start_);
  }
  std::vector<uint8_t> bytes() const { return {start_, start_ + bytes_}; }

 private:
  void* base_ = nullptr;
  uint8_t* start_ = nullptr;
  int64_t bytes_;
};

inline int64_t size_of(dal::DType dtype) {
  return dtype == dal::DType::f64 ? 8 : dtype == dal::DType::f32 ? 4 : 2;
}

inline dal::DType draw_dtype(Source& s) { return static_cast<dal::DType>(s.number(0, 3)); }

// What the values of a volume are like; only mild ones are compared by a tolerance.
enum class Style { mild, ties, constant, offset, wild, special };

inline Style draw_style(Source& s) { return static_cast<Style>(s.number(0, 5)); }

inline double draw_value(Source& s, Style style) {
  const double u = s.random();
  switch (style) {
    case Style::mild:
      return u;
    case Style::ties:
      return std::floor(4 * u) / 4;
    case Style::constant:
      return 0.625;
    case Style::offset:
      return 30000 + std::floor(100 * u);
    case Style::wild:
      return std::ldexp(2 * u - 1, static_cast<int>(240 * s.random()) - 120);
    default:
      break;
  }
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const double odd[] = {std::numeric_limits<double>::quiet_NaN(), infinity, -infinity, 0.0, -0.0};
  return u < 0.05 ? odd[static_cast<int>(100 * u)] : u;
}

inline uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

// Cut, not rounded; too small becomes 0.
inline uint16_t to_half(float value) {
  const uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000;
  const int exponent = static_cast<int>(bits >> 23 & 255) - 127;
  if (std::isnan(value)) return static_cast<uint16_t>(sign | 0x7e00);
  if (exponent > 15) return static_cast<uint16_t>(sign | 0x7c00);
  if (exponent < -14) return static_cast<uint16_t>(sign);
  return static_cast<uint16_t>(sign | (exponent + 15) << 10 | (bits >> 13 & 0x3ff));
}

inline void fill(Source& s, void* to, int64_t count, dal::DType dtype, Style style) {
  for (int64_t i = 0; i < count; ++i) {
    const double value = draw_value(s, style);
    const float single = static_cast<float>(value);
    if (dtype == dal::DType::f64) static_cast<double*>(to)[i] = value;
    if (dtype == dal::DType::f32) static_cast<float*>(to)[i] = single;
    if (dtype == dal::DType::f16) static_cast<uint16_t*>(to)[i] = to_half(single);
    if (dtype == dal::DType::bf16)
      static_cast<uint16_t*>(to)[i] = static_cast<uint16_t>(bits_of(single) >> 16);
  }
}

inline void fill_mask(Source& s, uint8_t* to, int64_t count) {
  const double share = s.share();
  for (int64_t i = 0; i < count; ++i) to[i] = s.random() < share;
}

using Bytes = std::vector<uint8_t>;

// Runs `run(threads)` on every path that this machine has, also from two threads at a time. Results of one
// path must be equal to the bit; those of another path must satisfy `like(first, other)`.
template <class Run, class Like>
Bytes everywhere(Run run, Like like) {
  constexpr dal::Isa isas[] = {dal::Isa::portable, dal::Isa::avx2, dal::Isa::avx512};
  Bytes first;
  bool have = false;
  for (const dal::Isa isa : isas) {
    if (!dal::isa_supported(isa)) continue;
    dal::set_isa(isa);
    const Bytes own = run(1);
    Bytes beside;
    std::thread other([&] { beside = run(2); });
    const bool same = run(3) == own;
    other.join();
    if (!same || beside != own) fail("another number of threads gives other bits");
    if (!have) first = own;
    have = true;
    if (!like(first, own)) fail("another instruction set gives something else");
  }
  return first;
}

inline bool equal(const Bytes& a, const Bytes& b) { return a == b; }

// Whether floats differ by at most `tolerance` in units of max(1, |a|).
template <class T>
bool close(const Bytes& a, const Bytes& b, double tolerance) {
  for (size_t i = 0; i + sizeof(T) <= a.size(); i += sizeof(T)) {
    T p, q;
    std::memcpy(&p, a.data() + i, sizeof(T));
    std::memcpy(&q, b.data() + i, sizeof(T));
    if (!(std::abs(double(p) - double(q)) <= tolerance * std::fmax(1, std::abs(double(p))))) return false;
  }
  return true;
}

// A buffer filled with values, at an offset of a few elements.
struct Volume {
  Volume(Source& s, int64_t count, dal::DType dtype, Style style)
      : buffer(count * size_of(dtype), s.number(0, 3) * size_of(dtype)) {
    fill(s, buffer.as<void>(), count, dtype, style);
  }
  void* data() { return buffer.as<void>(); }
  Buffer buffer;
};

// A mask, or none.
struct Mask {
  Mask(Source& s, int64_t count) : there(s.coin()), buffer(count, s.number(0, 3)) {
    fill_mask(s, buffer.as<uint8_t>(), count);
  }
  const uint8_t* data() { return there ? buffer.as<uint8_t>() : nullptr; }
  bool there;
  Buffer buffer;
};

inline void append(Bytes& all, const Buffer& part) {
  const Bytes own = part.bytes();
  all.insert(all.end(), own.begin(), own.end());
}

}  // namespace fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
