// Screens of volumes of any kind: what is refused is refused with a code, what is written stays inside, and
// the bits do not depend on threads.
#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>

#include "host.h"

namespace host {
namespace {

class Draw {
 public:
  explicit Draw(uint64_t seed) : random_(seed) {}
  int64_t number(int64_t low, int64_t high) { return low + int64_t(random_() % uint64_t(high - low + 1)); }
  bool coin() { return random_() & 1; }
  bool seldom() { return random_() % 12 == 0; }
  double share() { return double(random_() >> 11) * 0x1p-53; }

 private:
  std::mt19937_64 random_;
};

int64_t bytes_of(int32_t dtype) {
  return dtype == DAL_F64 ? 8 : dtype <= DAL_I8 ? 1 : dtype <= DAL_I16 ? 2 : 4;
}

void store(double value, int32_t dtype, uint8_t* to) {
  const auto put = [&](auto stored) { std::memcpy(to, &stored, sizeof stored); };
  const auto whole = [&](double low, double high) {
    return std::isnan(value) ? 0 : int64_t(std::min(std::max(value, low), high));
  };
  if (dtype == DAL_U8) put(uint8_t(whole(0, 255)));
  if (dtype == DAL_I8) put(int8_t(whole(-128, 127)));
  if (dtype == DAL_U16) put(uint16_t(whole(0, 65535)));
  if (dtype == DAL_I16) put(int16_t(whole(-32768, 32767)));
  if (dtype == DAL_U32) put(uint32_t(whole(0, 4294967295.0)));
  if (dtype == DAL_I32) put(int32_t(whole(-2147483648.0, 2147483647.0)));
  if (dtype == DAL_F32) {
    const double most = std::numeric_limits<float>::max();
    put(std::isfinite(value) ? float(std::min(std::max(value, -most), most)) : float(value));
  }
  if (dtype == DAL_F64) put(value);
}

// Memory of the exact size in a layout of any kind, of voxels at base + strides.
struct Layout {
  std::unique_ptr<uint8_t[]> memory;
  int64_t bytes = 0, stride[3] = {}, first = 0;

  Layout(Draw& draw, const int64_t shape[3], int64_t element) {
    int order[3] = {0, 1, 2};
    std::swap(order[0], order[draw.number(0, 2)]);
    std::swap(order[1], order[draw.number(1, 2)]);
    int64_t covered = element;
    for (const int axis : order) {
      stride[axis] = covered + (draw.seldom() ? draw.number(1, 9) : 0);
      covered += stride[axis] * (shape[axis] - 1);
    }
    bytes = covered;
    memory.reset(new uint8_t[static_cast<size_t>(bytes)]);
    std::fill_n(memory.get(), bytes, uint8_t(0xA5));
    for (int axis = 0; axis < 3; ++axis)
      if (draw.seldom()) first += stride[axis] * (shape[axis] - 1), stride[axis] = -stride[axis];
  }
  uint8_t* at(int64_t i, int64_t j, int64_t k) const {
    return memory.get() + first + i * stride[0] + j * stride[1] + k * stride[2];
  }
};

struct Volume {
  dal_image image = {};
  Layout layout;
  std::vector<const void*> planes;
  std::vector<double> slopes, intercepts;

  Volume(Draw& draw, const int64_t shape[3], int32_t dtype) : layout(draw, shape, bytes_of(dtype)) {
    image.struct_size = sizeof image;
    image.dtype = dtype;
    std::copy(shape, shape + 3, image.shape);
    std::copy(layout.stride, layout.stride + 3, image.stride);
    image.data = layout.at(0, 0, 0);
    if (draw.seldom()) {
      for (int64_t k = 0; k < shape[2]; ++k) planes.push_back(layout.at(0, 0, k));
      image.data = nullptr;
      image.planes = planes.data();
    }
  }
  template <class F>
  void fill(F&& value) {
    for (int64_t k = 0; k < image.shape[2]; ++k)
      for (int64_t j = 0; j < image.shape[1]; ++j)
        for (int64_t i = 0; i < image.shape[0]; ++i) store(value(i, j, k), image.dtype, layout.at(i, j, k));
  }
};

void draw_scaling(Draw& draw, Volume& volume) {
  dal_image& image = volume.image;
  if (draw.coin()) image.slope = draw.seldom() ? -1e30 * draw.share() : 3 * draw.share();
  if (draw.seldom()) image.intercept = 100 * draw.share() - 50;
  if (draw.seldom()) image.slope = std::numeric_limits<double>::quiet_NaN();
  if (!draw.seldom()) return;
  for (int64_t k = 0; k < image.shape[2]; ++k) {
    volume.slopes.push_back(draw.seldom() ? 1e300 : draw.share());
    volume.intercepts.push_back(draw.share() - 0.5);
  }
  image.plane_slope = volume.slopes.data();
  if (draw.coin()) image.plane_intercept = volume.intercepts.data();
}

void draw_affine(Draw& draw, dal_image& image) {
  int axes[3] = {0, 1, 2};
  std::swap(axes[0], axes[draw.number(0, 2)]);
  std::swap(axes[1], axes[draw.number(1, 2)]);
  const bool oblique = draw.coin();
  const double mm = draw.coin() ? 6 : 2 + 8 * draw.share();
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 3; ++column)
      image.affine[4 * row + column] = axes[column] == row
                                           ? (draw.coin() ? 1 : -1) * mm * (0.8 + 0.4 * draw.share())
                                       : oblique ? mm * (draw.share() - 0.5) * draw.share()
                                                 : 0;
    image.affine[4 * row + 3] = 300 * draw.share() - 150;
  }
  image.affine[15] = 1;
  if (draw.seldom()) image.affine[draw.number(0, 15)] = draw.coin() ? 1e308 : -1 / draw.share();
  image.space = draw.coin() ? DAL_RAS : DAL_LPS;
}

enum class Style { brain, noise, constant, wild, special, tiny };

double draw_value(Draw& draw, Style style, double radius) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const double noise = 10 * draw.share();
  switch (style) {
    case Style::brain:
      return radius < 0.6 ? 110 + noise : radius < 0.85 ? 80 + noise : radius < 1 ? 40 + noise : 0;
    case Style::noise:
      return 200 * draw.share() - 50;
    case Style::constant:
      return 7;
    case Style::wild:
      return std::ldexp(2 * draw.share() - 1, int(draw.number(-130, 140)));
    case Style::tiny:
      return 1e-40 * draw.share();
    default:
      return draw.seldom() ? draw.coin() ? infinity : -infinity + infinity : noise;
  }
}

// A request of any kind, and everything that it points to.
struct Drawn {
  int64_t shape[3];
  std::unique_ptr<Volume> scan, mask;
  std::vector<dal_output> outputs;
  std::vector<std::unique_ptr<Layout>> written;
  dal_request request = {};

  explicit Drawn(uint64_t seed) {
    Draw draw(seed);
    for (int64_t& side : shape) side = draw.seldom() ? draw.number(7, 9) : draw.number(10, 30);
    scan.reset(new Volume(draw, shape, int32_t(draw.number(DAL_U8, DAL_F64))));
    const Style style = draw.coin() ? Style::brain : static_cast<Style>(draw.number(0, 5));
    const auto radius = [&](int64_t i, int64_t j, int64_t k) {
      const int64_t at[3] = {i, j, k};
      double sum = 0;
      for (int axis = 0; axis < 3; ++axis) {
        const double far = 2.4 * (double(at[axis]) + 0.5) / double(shape[axis]) - 1.2;
        sum += far * far;
      }
      return std::sqrt(sum);
    };
    scan->fill([&](int64_t i, int64_t j, int64_t k) { return draw_value(draw, style, radius(i, j, k)); });
    draw_scaling(draw, *scan);
    draw_affine(draw, scan->image);
    request.struct_size = sizeof request;
    request.scan = &scan->image;
    if (draw.number(0, 3)) draw_mask(draw, radius);
    request.flags = draw.coin() ? DAL_REPLACE_NONFINITE : 0;
    request.contrast = int32_t(draw.number(DAL_GUESS, DAL_FLAIR));
    request.threshold = draw.coin() ? 0 : 0.3 * draw.share();
    for (int64_t left = draw.number(0, 4); left; --left) draw_output(draw);
    request.outputs = outputs.data();
    request.outputs_count = int32_t(outputs.size());
  }

  template <class F>
  void draw_mask(Draw& draw, F&& radius) {
    mask.reset(new Volume(draw, shape, int32_t(draw.number(DAL_U8, DAL_F64))));
    const double edge = draw.seldom() ? 0.2 : 1, holes = draw.seldom() ? 0.3 : 0;
    mask->fill(
        [&](int64_t i, int64_t j, int64_t k) { return radius(i, j, k) < edge && draw.share() >= holes; });
    if (draw.coin()) std::copy(scan->image.affine, scan->image.affine + 16, mask->image.affine);
    mask->image.space = scan->image.space;
    request.mask = &mask->image;
  }

  void draw_output(Draw& draw) {
    const auto what = int32_t(draw.number(DAL_ANOMALY_MAP, DAL_PSEUDO_HEALTHY));
    const int64_t element = what == DAL_ANOMALY_MAP || what == DAL_PSEUDO_HEALTHY ? 4 : 1;
    written.emplace_back(new Layout(draw, shape, element));
    const Layout& to = *written.back();
    dal_output output = {sizeof output, what, {to.stride[0], to.stride[1], to.stride[2]}, to.at(0, 0, 0)};
    if (draw.seldom()) output.stride[draw.number(0, 2)] = draw.coin() ? 0 : INT64_MIN;
    outputs.push_back(output);
  }
};

// A run's status, its score, and every byte of the outputs' memory, the gaps among them.
struct Ended {
  Outcome outcome;
  double score = 0;
  std::vector<std::vector<uint8_t>> memory;
  bool operator==(const Ended& other) const {
    return outcome.status == other.outcome.status &&
           !std::strcmp(outcome.error.code, other.outcome.error.code) && score == other.score &&
           memory == other.memory;
  }
};

void check_values(const Drawn& drawn) {
  for (size_t n = 0; n < drawn.outputs.size(); ++n) {
    const int32_t what = drawn.outputs[n].what;
    for (int64_t k = 0; k < drawn.shape[2]; ++k)
      for (int64_t j = 0; j < drawn.shape[1]; ++j)
        for (int64_t i = 0; i < drawn.shape[0]; ++i) {
          const uint8_t* const at = drawn.written[n]->at(i, j, k);
          float value;
          if (what == DAL_ANOMALY_MASK || what == DAL_BRAIN_MASK)
            CHECK(*at <= 1);
          else
            CHECK((std::memcpy(&value, at, sizeof value), std::isfinite(value)));
        }
  }
}

Ended ended(const Session& session, const Drawn& drawn) {
  Ended found;
  dal_summary summary = {};
  summary.struct_size = sizeof summary;
  for (const auto& to : drawn.written) std::fill_n(to->memory.get(), to->bytes, uint8_t(0xA5));
  found.outcome.status = dal_run(session.handle, &drawn.request, &summary, &found.outcome.error);
  const int32_t status = found.outcome.status;
  CHECK(status == DAL_OK || status == DAL_INPUT || status == DAL_ARGUMENT || status == DAL_MEMORY,
        found.outcome.words());
  CHECK(status == DAL_OK || found.outcome.error.message[0]);
  if (status == DAL_OK) check_values(drawn);
  found.score = summary.score;
  for (const auto& to : drawn.written)
    found.memory.emplace_back(to->memory.get(), to->memory.get() + to->bytes);
  return found;
}

}  // namespace

void screens_of_random_volumes() {
  using Clock = std::chrono::steady_clock;
  BundleOptions plain;
  plain.evidence = false;
  const Engine one(bundle(), 1), three(bundle(), 3), without(bundle(plain), 2);
  CHECK(one.opened.is(DAL_OK, "") && three.opened.is(DAL_OK, "") && without.opened.is(DAL_OK, ""),
        one.opened.words());
  const Session of_one(one, true, 32), of_three(three, true, 32), of_without(without, true, 32);
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  uint64_t seed = 0, screened = 0, small = 0;
  for (; Clock::now() < end || seed < 16; ++seed) {
    const Drawn drawn(seed);
    const Ended first = ended(of_one, drawn);
    const std::string about = "seed " + std::to_string(seed) + ", " + first.outcome.words();
    CHECK(ended(of_three, drawn) == first, about);
    CHECK((ended(of_without, drawn).outcome.status == DAL_OK) == (first.outcome.status == DAL_OK), about);
    screened += first.outcome.status == DAL_OK;
    small += first.outcome.status == DAL_MEMORY;
  }
  CHECK(screened > seed / 8);
  std::printf("%llu of %llu volumes screened, %llu larger than their session\n",
              (unsigned long long)screened, (unsigned long long)seed, (unsigned long long)small);
}

}  // namespace host
