// Static shared memory. A library's __shared__ arrays are its thread-local storage: one range, which all
// blocks share. Before a block starts the range is poisoned; with several resident blocks each keeps its
// own image and the range is swapped. Race builds see every access, so only what was touched is treated so.
#include <link.h>

#include <cstdint>

#include "internal.h"

// The C library's: this thread's copy of a module's thread-local storage, made when it is first asked for.
struct tls_index {
  unsigned long module, offset;
};
extern "C" void* __tls_get_addr(tls_index*);

namespace coh {
namespace {

constexpr size_t kPiece = 256;  // bytes

char* first = nullptr;
size_t bytes = 0;
std::vector<bool> touched;  // by piece
std::vector<size_t> pieces;  // the touched ones
Block* in_place = nullptr;

size_t piece_bytes(size_t piece) { return std::min(kPiece, bytes - piece * kPiece); }

void touch(size_t piece) {
  if (touched[piece]) return;
  touched[piece] = true;
  pieces.push_back(piece);
}

[[maybe_unused]] int find_library(dl_phdr_info* info, size_t, void* kernel) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(kernel) - info->dlpi_addr;
  bool holds_kernel = false;
  size_t size = 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& segment = info->dlpi_phdr[i];
    if (segment.p_type == PT_LOAD && address - segment.p_vaddr < segment.p_memsz) holds_kernel = true;
    if (segment.p_type == PT_TLS) size = segment.p_memsz;
  }
  if (!holds_kernel) return 0;
  tls_index index{info->dlpi_tls_modid, 0};
  first = size ? static_cast<char*>(__tls_get_addr(&index)) : nullptr;
  bytes = size;
  return 1;
}

}  // namespace

void locate_statics([[maybe_unused]] const void* kernel) {
#ifndef __SANITIZE_ADDRESS__
  first = nullptr;
  bytes = 0;
  dl_iterate_phdr(find_library, const_cast<void*>(kernel));
  in_place = nullptr;
  const size_t n = (bytes + kPiece - 1) / kPiece;
  touched.assign(n, false);
  pieces.clear();
#ifdef COH_RACE
  if (bytes) memset(first, kFill, bytes);
#else
  for (size_t piece = 0; piece < n; ++piece) touch(piece);
#endif
#endif
}

bool in_statics(uintptr_t address) { return address - reinterpret_cast<uintptr_t>(first) < bytes; }

void note_static_access(uintptr_t address) {
  touch((address - reinterpret_cast<uintptr_t>(first)) / kPiece);
}

void poison_statics(Block& block) {
  if (!bytes) return;
  if (in_place != &block && block.statics.size() != bytes) block.statics.assign(bytes, char(kFill));
  char* to = in_place == &block ? first : block.statics.data();
  for (size_t piece : pieces) memset(to + piece * kPiece, kFill, piece_bytes(piece));
}

void bring_statics(Block& block) {
  if (!bytes || in_place == &block) return;
  for (size_t piece : pieces) {
    char* here = first + piece * kPiece;
    if (in_place) memcpy(in_place->statics.data() + piece * kPiece, here, piece_bytes(piece));
    memcpy(here, block.statics.data() + piece * kPiece, piece_bytes(piece));
  }
  in_place = &block;
}

}  // namespace coh
