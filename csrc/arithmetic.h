// The arithmetic that results are defined for.
#pragma once
#include <cfenv>

namespace dal {

// Rounding and denormals as every thread has them at first, until the end of the scope.
class UsualArithmetic {
 public:
  UsualArithmetic() {
    std::fegetenv(&before_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~UsualArithmetic() { std::fesetenv(&before_); }
  UsualArithmetic(const UsualArithmetic&) = delete;
  UsualArithmetic& operator=(const UsualArithmetic&) = delete;

 private:
  std::fenv_t before_;
};

}  // namespace dal
