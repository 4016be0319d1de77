// Loaded before the C library (LD_PRELOAD) into every process of a run. A line goes to the file
// $WATCH_LOG whenever a process
//
//   network  looks up a host name, or sends to an address that is not of this very machine;
//   write    opens for writing, or creates, a path outside the folders in $WATCH_ALLOWED, which a
//            colon separates.
//
// The call itself goes on, so that what follows shows as well. Sockets of the loopback interface
// are allowed, except for port 53: a name server on this machine asks others.
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

template <typename F>
F next(F, const char* name) {
  return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}

void report(const char* kind, const char* call, const std::string& what) {
  const char* path = getenv("WATCH_LOG");
  if (path == nullptr) return;
  char program[PATH_MAX] = "?";
  const ssize_t size = readlink("/proc/self/exe", program, sizeof program - 1);
  if (size > 0) program[size] = 0;
  const std::string line =
      std::string(kind) + "\t" + call + "\t" + what + "\t" + program + "\n";
  // past the wrappers below
  const long file = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT, 0666);
  if (file < 0) return;
  if (syscall(SYS_write, file, line.data(), line.size()) < 0) abort();
  syscall(SYS_close, file);
}

void check_address(const char* call, const sockaddr* address) {
  if (address == nullptr) return;
  char text[INET6_ADDRSTRLEN] = "?";
  bool local = false;
  int port = 0;
  if (address->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
    inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
    const unsigned first = ntohl(v4->sin_addr.s_addr) >> 24;
    local = first == 127 || first == 0;
    port = ntohs(v4->sin_port);
  } else if (address->sa_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
    inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
    const auto* b = v6->sin6_addr.s6_addr;
    local = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) || IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr) ||
            (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) && b[12] == 127);
    port = ntohs(v6->sin6_port);
  } else {
    return;  // within the machine: AF_UNIX, AF_NETLINK, ...
  }
  if (!local || port == 53) report("network", call, std::string(text) + ":" + std::to_string(port));
}

bool is_literal(const char* node) {
  unsigned char bytes[sizeof(in6_addr)];
  return node == nullptr || strcmp(node, "localhost") == 0 ||
         inet_pton(AF_INET, node, bytes) == 1 || inet_pton(AF_INET6, node, bytes) == 1;
}

void check_name(const char* call, const char* node) {
  if (is_literal(node)) return;
  char own[HOST_NAME_MAX + 1] = "";
  gethostname(own, sizeof own);
  if (strcmp(node, own) != 0) report("network", call, node);
}

bool is_below(const std::string& path, const std::string& folder) {
  return path == folder || path.compare(0, folder.size() + 1, folder + "/") == 0;
}

void check_path(const char* call, int folder, const char* path) {
  if (path == nullptr) return;
  char buffer[PATH_MAX];
  std::string whole = path;
  if (path[0] != '/') {
    if (folder == AT_FDCWD) {
      if (getcwd(buffer, sizeof buffer) == nullptr) return;
    } else {
      const std::string link = "/proc/self/fd/" + std::to_string(folder);
      const ssize_t size = readlink(link.c_str(), buffer, sizeof buffer - 1);
      if (size < 0) return;
      buffer[size] = 0;
    }
    whole = std::string(buffer) + "/" + path;
  }
  std::string allowed = std::string(getenv("WATCH_ALLOWED") ? getenv("WATCH_ALLOWED") : "");
  allowed += ":/dev:/proc:";
  for (size_t start = 0, end; (end = allowed.find(':', start)) != std::string::npos;
       start = end + 1) {
    if (end > start && is_below(whole, allowed.substr(start, end - start))) return;
  }
  report("write", call, whole);
}

bool writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT) != 0; }

bool writes(const char* mode) { return strpbrk(mode, "wa+") != nullptr; }

}  // namespace

EXPORT int connect(int fd, const sockaddr* address, socklen_t size) {
  check_address("connect", address);
  return next(connect, "connect")(fd, address, size);
}

EXPORT ssize_t sendto(int fd, const void* data, size_t n, int flags, const sockaddr* address,
                      socklen_t size) {
  check_address("sendto", address);
  return next(sendto, "sendto")(fd, data, n, flags, address, size);
}

EXPORT ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  if (message != nullptr) check_address("sendmsg", static_cast<sockaddr*>(message->msg_name));
  return next(sendmsg, "sendmsg")(fd, message, flags);
}

EXPORT int sendmmsg(int fd, mmsghdr* messages, unsigned n, int flags) {
  for (unsigned i = 0; i < n; ++i)
    check_address("sendmmsg", static_cast<sockaddr*>(messages[i].msg_hdr.msg_name));
  return next(sendmmsg, "sendmmsg")(fd, messages, n, flags);
}

EXPORT int getaddrinfo(const char* node, const char* service, const addrinfo* hints,
                       addrinfo** result) {
  check_name("getaddrinfo", node);
  return next(getaddrinfo, "getaddrinfo")(node, service, hints, result);
}

EXPORT hostent* gethostbyname(const char* name) {
  check_name("gethostbyname", name);
  return next(gethostbyname, "gethostbyname")(name);
}

EXPORT int gethostbyname_r(const char* name, hostent* entry, char* buffer, size_t size,
                           hostent** result, int* error) {
  check_name("gethostbyname_r", name);
  return next(gethostbyname_r, "gethostbyname_r")(name, entry, buffer, size, result, error);
}

#define OPEN(NAME)                                          \
  EXPORT int NAME(const char* path, int flags, ...) {       \
    va_list rest;                                           \
    va_start(rest, flags);                                  \
    const mode_t mode = va_arg(rest, mode_t);               \
    va_end(rest);                                           \
    if (writes(flags)) check_path(#NAME, AT_FDCWD, path);   \
    using Open = int (*)(const char*, int, mode_t);         \
    return next(Open(nullptr), #NAME)(path, flags, mode);   \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(NAME)                                                 \
  EXPORT int NAME(int folder, const char* path, int flags, ...) {    \
    va_list rest;                                                    \
    va_start(rest, flags);                                           \
    const mode_t mode = va_arg(rest, mode_t);                        \
    va_end(rest);                                                    \
    if (writes(flags)) check_path(#NAME, folder, path);              \
    using Open = int (*)(int, const char*, int, mode_t);             \
    return next(Open(nullptr), #NAME)(folder, path, flags, mode);    \
  }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(NAME)                                             \
  EXPORT FILE* NAME(const char* path, const char* mode) {       \
    if (writes(mode)) check_path(#NAME, AT_FDCWD, path);        \
    using Open = FILE* (*)(const char*, const char*);           \
    return next(Open(nullptr), #NAME)(path, mode);              \
  }
FOPEN(fopen)
FOPEN(fopen64)

EXPORT int mkdir(const char* path, mode_t mode) {
  const int result = next(mkdir, "mkdir")(path, mode);
  if (result == 0) check_path("mkdir", AT_FDCWD, path);  // not where it was there already
  return result;
}

EXPORT int mkdirat(int folder, const char* path, mode_t mode) {
  const int result = next(mkdirat, "mkdirat")(folder, path, mode);
  if (result == 0) check_path("mkdirat", folder, path);
  return result;
}

EXPORT int rename(const char* from, const char* to) {
  check_path("rename", AT_FDCWD, to);
  return next(rename, "rename")(from, to);
}

EXPORT int symlink(const char* target, const char* path) {
  check_path("symlink", AT_FDCWD, path);
  return next(symlink, "symlink")(target, path);
}

EXPORT int bind(int fd, const sockaddr* address, socklen_t size) {
  if (address != nullptr && address->sa_family == AF_UNIX && size > sizeof(sa_family_t)) {
    const auto* local = reinterpret_cast<const sockaddr_un*>(address);
    if (local->sun_path[0] != 0) check_path("bind", AT_FDCWD, local->sun_path);
  }
  return next(bind, "bind")(fd, address, size);
}
