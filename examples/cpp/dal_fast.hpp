// dal_fast.h for C++17: what is opened is closed, and what fails throws.
#pragma once
#include <dal_fast.h>

#include <memory>
#include <stdexcept>
#include <string>

namespace dal_fast {

class Error : public std::runtime_error {
 public:
  explicit Error(const dal_error& error)
      : std::runtime_error(error.message), status(error.status), code(error.code) {}
  const int status;
  const std::string code;
};

template <class T>
T sized() {
  T value{};
  value.struct_size = sizeof value;
  return value;
}

template <class Call>
void checked(Call&& call) {
  auto error = sized<dal_error>();
  if (call(&error)) throw Error(error);
}

class Engine {
 public:
  Engine(const std::string& bundle, const dal_options& options) {
    dal_engine* opened = nullptr;
    checked([&](dal_error* error) { return dal_engine_open(bundle.c_str(), &options, &opened, error); });
    handle_.reset(opened);
  }
  dal_engine* get() const { return handle_.get(); }

 private:
  struct Close {
    void operator()(dal_engine* engine) const { dal_engine_close(engine); }
  };
  std::unique_ptr<dal_engine, Close> handle_;
};

class Session {
 public:
  explicit Session(const Engine& engine, const dal_limits& limits = sized<dal_limits>()) {
    dal_session* opened = nullptr;
    checked([&](dal_error* error) { return dal_session_open(engine.get(), &limits, &opened, error); });
    handle_.reset(opened);
  }
  dal_summary run(const dal_request& request) {
    auto found = sized<dal_summary>();
    checked([&](dal_error* error) { return dal_run(handle_.get(), &request, &found, error); });
    return found;
  }

 private:
  struct Close {
    void operator()(dal_session* session) const { dal_session_close(session); }
  };
  std::unique_ptr<dal_session, Close> handle_;
};

}  // namespace dal_fast
