// A bundle: networks, atlas and settings in one safetensors file, as dal_fast/screening/bundle.py writes
// it.
//
//   8 bytes    length n of the header, little-endian
//   n bytes    JSON: {"__metadata__": {"key": "value", ...}, "name": {"dtype": "F32", "shape": [..],
//              "data_offsets": [begin, end]}, ...}
//   the rest   the tensors' bytes
//
// The reader knows that grammar and no more of JSON. It looks at no byte outside the file and at nothing
// twice; every failure is a Failure (DAL_BUNDLE, weights-corrupt or weights-mismatch).
#pragma once
#include <cstddef>
#include <cstdint>

#include "capi/memory.h"

namespace dal {

struct Text {  // of `size` bytes, followed by a 0
  const char* start;
  size_t size;
};

struct BundleTensor {
  Text name;
  char dtype[8];
  int rank;
  int64_t shape[5];
  const uint8_t* data;
  size_t bytes;
};

class Bundle {
 public:
  // The file as a whole; it stays the caller's, for as long as the bundle lives.
  Bundle(const Memory& memory, const uint8_t* file, size_t bytes);
  Bundle(const Bundle&) = delete;
  Bundle& operator=(const Bundle&) = delete;

  // Null where there is none.
  const char* text(const char* key) const;
  const BundleTensor* find(const char* name) const;

  // Those that must be there.
  const char* required(const char* key) const;
  double number(const char* key) const;
  int64_t integer(const char* key) const;
  // `dtype` as safetensors names it; null for any.
  const BundleTensor& tensor(const char* name, const char* dtype) const;

  // Refuses a payload whose SHA-256 is not the one that the metadata states.
  void check_payload() const;

 private:
  struct Entry {
    Text key, value;
  };
  friend class Parser;

  void parse();

  const uint8_t* const file_;
  const size_t bytes_;
  Block texts_, entries_block_, tensors_block_;
  Entry* entries_ = nullptr;
  BundleTensor* tensors_ = nullptr;
  size_t entry_count_ = 0, tensor_count_ = 0, payload_ = 0;
};

// A decimal number of the whole text, whatever the locale; false for anything else.
bool parse_number(const char* text, double* value);

}  // namespace dal
