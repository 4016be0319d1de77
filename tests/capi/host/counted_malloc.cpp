// Every malloc of the process, counted by whose code asked: not under sanitizers, which have a malloc of
// their own.
#include <dlfcn.h>
#include <link.h>
#include <malloc.h>

#include <atomic>
#include <cerrno>

#include "host.h"

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
}

namespace {

struct Code {
  uintptr_t begin = 0, end = 0;
};
Code library;  // libdal_fast's own
std::atomic<bool> counting{false};
std::atomic<int64_t> by_library{0}, by_others{0}, fails_at{0};

// Whether this call fails.
bool count(const void* caller) {
  if (!counting) return false;
  const auto at = reinterpret_cast<uintptr_t>(caller);
  if (at < library.begin || at >= library.end) return ++by_others, false;
  return ++by_library == fails_at;
}

}  // namespace

#define COUNTED(call)                                   \
  if (!count(__builtin_return_address(0))) return call; \
  errno = ENOMEM;                                       \
  return nullptr

extern "C" {
void* malloc(size_t bytes) { COUNTED(__libc_malloc(bytes)); }
void* calloc(size_t number, size_t bytes) { COUNTED(__libc_calloc(number, bytes)); }
void* realloc(void* memory, size_t bytes) { COUNTED(__libc_realloc(memory, bytes)); }
void* memalign(size_t alignment, size_t bytes) { COUNTED(__libc_memalign(alignment, bytes)); }
void* aligned_alloc(size_t alignment, size_t bytes) { COUNTED(__libc_memalign(alignment, bytes)); }
int posix_memalign(void** memory, size_t alignment, size_t bytes) {
  *memory = count(__builtin_return_address(0)) ? nullptr : __libc_memalign(alignment, bytes);
  return *memory ? 0 : ENOMEM;
}
}

namespace host {
namespace {

void find_library() {
  Dl_info about = {};
  CHECK(dladdr(reinterpret_cast<void*>(dal_run), &about));
  const auto find = [](dl_phdr_info* object, size_t, void* name) {
    if (std::strcmp(object->dlpi_name, static_cast<const char*>(name))) return 0;
    for (int i = 0; i < object->dlpi_phnum; ++i)
      if (object->dlpi_phdr[i].p_type == PT_LOAD && object->dlpi_phdr[i].p_flags & PF_X) {
        library.begin = object->dlpi_addr + object->dlpi_phdr[i].p_vaddr;
        library.end = library.begin + object->dlpi_phdr[i].p_memsz;
      }
    return 1;
  };
  CHECK(dl_iterate_phdr(find, const_cast<char*>(about.dli_fname)) == 1 && library.begin);
}

struct Counts {
  int64_t library, others;
};

template <class F>
Counts counted(F&& body) {
  by_library = by_others = 0;
  counting = true;
  body();
  counting = false;
  return {by_library, by_others};
}

}  // namespace

// With BUNDLE in the environment, a real one, and ENGINE of its kind: what OpenVINO itself takes.
void no_allocation_in_a_run() {
  find_library();
  std::vector<uint8_t> content = bundle();
  if (const char* const name = std::getenv("BUNDLE")) {
    std::FILE* const file = std::fopen(name, "rb");
    CHECK(file, name);
    content.resize(size_t(1) << 24);
    content.resize(std::fread(content.data(), 1, content.size(), file));
    std::fclose(file);
  }
  const Engine engine(content, 3);
  CHECK(engine.opened.is(DAL_OK, ""), engine.opened.words());
  dal_session* session = nullptr;
  const dal_limits limits = {sizeof limits, 1, {48, 48, 48}, 0};
  const Counts opening =
      counted([&] { CHECK(dal_session_open(engine.handle, &limits, &session, nullptr) == DAL_OK); });
  CHECK(opening.library > 0);
  const Brain brain;
  std::vector<float> map(brain.scan.size());
  const dal_output output = {sizeof output, DAL_ANOMALY_MAP, {}, map.data()};
  const dal_image scan = brain.scan_image(), mask = brain.mask_image();
  dal_request request = {};
  request.struct_size = sizeof request;
  request.scan = &scan;
  request.outputs = &output;
  request.outputs_count = 1;
  int32_t status[6];
  dal_error error = {sizeof error, 0, "", ""};
  const Counts running = counted([&] {
    for (int i = 0; i < 6; ++i) {
      request.mask = i % 2 ? nullptr : &mask;
      status[i] = dal_run(session, &request, nullptr, &error);
    }
  });
  int refused = 0;  // a real network finds no brain in this one
  for (int i = 0; i < 6; ++i) {
    CHECK(status[i] == DAL_OK || (i % 2 && status[i] == DAL_INPUT), error.message);
    refused += status[i] != DAL_OK;
  }
  CHECK(running.library == refused, std::to_string(running.library));  // one for each, which is thrown
  std::printf(
      "dal_session_open: %lld allocations of the library's; %d screens: 0, and %lld of the engine's\n",
      (long long)opening.library, 6 - refused, (long long)running.others);
  dal_session_close(session);
}

void malloc_that_ends_at_every_call() {
  find_library();
  const std::vector<uint8_t> content = bundle();
  const auto open = [&](Outcome* ended) {
    const Engine engine(content, 3);
    *ended = engine.opened;
    if (ended->status == DAL_OK) *ended = Session(engine, true).opened;
  };
  Outcome ended;
  const int64_t needed = counted([&] { open(&ended); }).library;
  CHECK(ended.is(DAL_OK, ""), ended.words());
  CHECK(needed > 10);
  for (int64_t k = 1; k <= needed; ++k) {
    fails_at = k;
    counted([&] { open(&ended); });
    fails_at = 0;
    // where a thread is not to be had for want of memory the others do its work
    CHECK(ended.status == DAL_OK || ended.is(DAL_MEMORY, "out-of-memory"),
          std::to_string(k) + " " + ended.words());
  }
  std::printf("%lld allocations of the library's to open an engine and a session\n", (long long)needed);
}

}  // namespace host
