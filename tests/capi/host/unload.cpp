// unload LIBRARY TIMES: loads and unloads the library; each second time a bundle is refused in between.
#include <dirent.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "capi/dal_fast.h"

#define CHECK(condition) \
  if (!(condition)) return std::fprintf(stderr, "line %d: %s\n", __LINE__, #condition), 1

static int threads() {
  DIR* const tasks = opendir("/proc/self/task");
  int count = 0;
  while (readdir(tasks)) ++count;
  closedir(tasks);
  return count;
}

static bool mapped(const char* library) {
  std::FILE* const maps = std::fopen("/proc/self/maps", "r");
  char line[4096];
  bool found = false;
  while (std::fgets(line, sizeof line, maps)) found = found || std::strstr(line, library);
  std::fclose(maps);
  return found;
}

int main(int count, char** words) {
  CHECK(count == 3);
  const int before = threads();
  for (int i = 0; i < std::atoi(words[2]); ++i) {
    void* const library = dlopen(words[1], RTLD_NOW | RTLD_LOCAL);
    CHECK(library);
    const auto open =
        reinterpret_cast<decltype(&dal_engine_open_memory)>(dlsym(library, "dal_engine_open_memory"));
    dal_engine* engine = nullptr;
    dal_error error = {sizeof error, 0, "", ""};
    if (i % 2) CHECK(open("12345678", 8, nullptr, &engine, &error) == DAL_BUNDLE && error.message[0]);
    CHECK(dlclose(library) == 0);
    CHECK(!mapped(words[1]));
  }
  CHECK(threads() == before);
  return 0;
}
