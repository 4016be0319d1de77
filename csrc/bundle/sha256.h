// SHA-256 (FIPS 180-4), for the checksum of a bundle.
#pragma once
#include <cstddef>
#include <cstdint>

namespace dal {

// 64 hexadecimal digits and a final 0.
void sha256_hex(const uint8_t* data, size_t bytes, char digits[65]);

}  // namespace dal
