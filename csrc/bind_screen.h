// The chain of a whole scan (csrc/capi) for Python: what dal_run gives, and what the report shows beside
// it.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "bindings.h"
#include "capi/failure.h"
#include "capi/session.h"

namespace dal {

// The class _C.ChainError(status, code, message), which a Failure becomes.
inline void register_failure(py::module_& m) {
  static PyObject* const error = PyErr_NewException("dal_fast._C.ChainError", nullptr, nullptr);
  m.attr("ChainError") = py::reinterpret_borrow<py::object>(error);
  py::register_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const Failure& failure) {
      PyErr_SetObject(error, py::make_tuple(failure.status, failure.code, failure.message).ptr());
    }
  });
}

// One scan at a time. Its session holds memory for the largest scan so far.
class PythonChain {
 public:
  PythonChain(const py::bytes& bundle, const std::string& engine, const std::string& engine_path,
              int threads) {
    const std::string_view content = bundle;
    dal_options options{};
    options.struct_size = sizeof options;
    options.engine = engine.c_str();
    options.engine_path = engine_path.c_str();
    options.threads = threads;
    const Memory memory;
    uint8_t* const file = static_cast<uint8_t*>(memory.take(content.size()));
    std::memcpy(file, content.data(), content.size());
    const py::gil_scoped_release others;
    engine_.reset(open_engine(memory, options, file, content.size(), Compile::when_needed));
  }

  std::optional<std::string> fact(const std::string& name) const {
    const char* const text = engine_->fact(name.c_str());
    return text ? std::optional<std::string>(text) : std::nullopt;
  }

  // Compiles the networks of a run.
  void load(bool extraction, bool screening) {
    const py::gil_scoped_release others;
    engine_->check_process();
    if (screening) engine_->network(Part::tissue);
    if (screening && engine_->settings.residual_head) engine_->network(Part::residual_head);
    if (extraction) engine_->network(Part::extractor);
  }

  // scan: float32 (I, J, K); mask: bool, the same shape, or none to extract the brain.
  py::dict run(const py::array_t<float>& scan, const std::array<double, 16>& affine,
               const std::optional<py::array_t<bool>>& mask, int contrast, double threshold,
               bool brain_only) {
    engine_->check_process();
    const auto image = [&](const py::array& data, int32_t dtype) {
      dal_image image{};
      image.struct_size = sizeof image;
      image.dtype = dtype;
      image.data = data.data();
      std::copy_n(data.shape(), 3, image.shape);
      std::copy_n(data.strides(), 3, image.stride);
      return image;
    };
    dal_image whole = image(scan, DAL_F32), inside{};
    std::copy(affine.begin(), affine.end(), whole.affine);
    dal_request request{};
    request.struct_size = sizeof request;
    request.scan = &whole;
    if (mask) {
      inside = image(*mask, DAL_U8);
      request.mask = &inside;
    }
    request.contrast = contrast;
    request.threshold = threshold;

    py::dict found;
    dal_output outputs[4];
    int32_t count = 0;
    const auto wanted = [&](const char* name, int32_t what, auto kind) {
      const auto volume = on_scan<decltype(kind)>(whole);
      found[name] = volume;
      outputs[count] = {
          sizeof(dal_output), what, {}, const_cast<void*>(static_cast<const void*>(volume.data()))};
      ++count;
    };
    if (!mask) wanted("brain_mask", DAL_BRAIN_MASK, bool());
    if (!brain_only) {
      wanted("anomaly", DAL_ANOMALY_MAP, float());
      wanted("anomaly_mask", DAL_ANOMALY_MASK, bool());
      wanted("pseudo_healthy", DAL_PSEUDO_HEALTHY, float());
    }
    request.outputs = outputs;
    request.outputs_count = count;
    const Until until = brain_only ? Until::brain_mask : Until::regions;
    dal_summary summary;
    {
      const py::gil_scoped_release others;
      summary = screened(request, until);
    }
    describe(summary, found);
    if (!brain_only) show_inside(found);
    return found;
  }

  // What the last run found of a brain that it looked for: any, confidence, agreement, sharpness,
  // sphericity, symmetry, unusual, cut, millilitres.
  py::tuple brain() const {
    const Inside inside = session_ ? session_->inside : Inside{};
    const BrainFound& f = inside.brain;
    return py::make_tuple(f.any, f.confidence, f.agreement, f.sharpness, f.sphericity, f.symmetry,
                          f.unusual, f.cut, inside.brain_ml);
  }

 private:
  struct Leave {
    void operator()(dal_engine* engine) const { dal_engine::leave(engine); }
  };
  struct Close {
    void operator()(dal_session* session) const {
      dal_engine* const engine = session->engine;
      engine->memory.destroy(session);
      dal_engine::leave(engine);
    }
  };

  // Packed, i fastest, as the chain writes it.
  template <class T>
  static py::array_t<T> on_scan(const dal_image& image) {
    const py::ssize_t size = sizeof(T), row = size * image.shape[0];
    return py::array_t<T>({image.shape[0], image.shape[1], image.shape[2]},
                          {size, row, row * image.shape[1]});
  }

  // A brain of a usual size first, since memory for any that the scan has room for is much more.
  dal_summary screened(const dal_request& request, Until until) {
    const ScanGrid grid = checked_grid(*request.scan, "scan");
    const Limits usual = limits_of(grid, !request.mask, until), whole = widest(usual, grid);
    try {
      return session_for(usual).run(request, until);
    } catch (const Failure& failure) {
      if (std::strcmp(failure.code, "session-too-small")) throw;
    }
    return session_for(whole).run(request, until);
  }
  static Limits limits_of(const ScanGrid& grid, bool extraction, Until until) {
    dal_limits given{};
    std::copy_n(grid.shape, 3, given.max_shape);
    given.extraction = extraction;
    Limits limits = checked_limits(given);
    limits.screening = until == Until::regions;
    return limits;
  }
  // For whatever a scan of this size can hold.
  static Limits widest(Limits limits, const ScanGrid& grid) {
    double across = 0;
    for (int axis = 0; axis < 3; ++axis) {
      const double side = grid.voxel_mm(axis) * double(grid.shape[axis]);
      limits.max_head_mm = std::max(limits.max_head_mm, side);
      across += side * side;
    }
    limits.max_brain_mm = std::max(limits.max_brain_mm, std::sqrt(across));
    return limits;
  }
  dal_session& session_for(Limits needed) {
    if (session_) {
      const Limits& has = session_->limits;
      bool enough = has.max_brain_mm >= needed.max_brain_mm && has.max_head_mm >= needed.max_head_mm &&
                    has.extraction >= needed.extraction && has.screening >= needed.screening;
      for (int axis = 0; axis < 3; ++axis) enough = enough && has.max_shape[axis] >= needed.max_shape[axis];
      if (enough) return *session_;
      session_.reset();
    }
    session_.reset(engine_->memory.make<dal_session>(engine_.get(), needed));
    return *session_;
  }

  void describe(const dal_summary& summary, py::dict& found) const {
    found["contrast"] = summary.contrast;
    found["looks_like"] = summary.looks_like;
    found["sign"] = summary.sign;
    found["score"] = summary.score;
    found["threshold"] = summary.threshold;
    found["brain_ml"] = summary.brain_ml;
    found["seconds"] = std::vector<double>(summary.seconds, summary.seconds + DAL_SECONDS_TOTAL);
    py::list regions;
    for (int32_t i = 0; i < session_->regions.count; ++i) {
      const dal_region& r = session_->regions.table[i];
      const auto centre = std::make_tuple(r.centre_mm[0], r.centre_mm[1], r.centre_mm[2]);
      regions.append(py::make_tuple(r.volume_ml, r.peak, r.mean, centre));
    }
    found["regions"] = regions;
  }
  // Copies of what lies on the model's grid, (D, H, W). tissue: 1 more than the most probable one's index,
  // 0 outside the brain.
  void show_inside(py::dict& found) const {
    const Inside& inside = session_->inside;
    const Shape s = inside.shape;
    const auto volume = [&](const auto* values) {
      using T = std::decay_t<decltype(*values)>;
      py::array_t<T> copy({py::ssize_t(s.depth), py::ssize_t(s.height), py::ssize_t(s.width)});
      std::copy_n(values, s.voxels(), copy.mutable_data());
      return copy;
    };
    auto tissue = volume(inside.mask);
    uint8_t* const labels = tissue.mutable_data();
    for (int64_t i = 0; i < s.voxels(); ++i) {
      int most = 0;
      for (int t = 1; t < kTissues; ++t)
        if (inside.tissue[t * s.voxels() + i] > inside.tissue[most * s.voxels() + i]) most = t;
      labels[i] = labels[i] ? uint8_t(most + 1) : uint8_t(0);
    }
    found["affine"] = std::vector<double>(inside.affine, inside.affine + 16);
    found["image"] = volume(inside.image);
    found["tissue"] = tissue;
    found["bias"] = volume(inside.bias);
    found["mask"] = volume(inside.mask);
  }

  std::unique_ptr<dal_engine, Leave> engine_;
  std::unique_ptr<dal_session, Close> session_;
};

inline void register_screen(py::module_& m) {
  register_failure(m);
  m.def("has_bf16", &engine::has_bf16);
  py::class_<PythonChain>(m, "Chain")
      .def(py::init<const py::bytes&, const std::string&, const std::string&, int>(), py::kw_only(),
           "bundle"_a, "engine"_a, "engine_path"_a, "threads"_a)
      .def("fact", &PythonChain::fact, "name"_a)
      .def("load", &PythonChain::load, py::kw_only(), "extraction"_a, "screening"_a)
      .def("run", &PythonChain::run, py::kw_only(), "scan"_a.noconvert(), "affine"_a, "mask"_a.noconvert(),
           "contrast"_a, "threshold"_a, "brain_only"_a)
      .def("brain", &PythonChain::brain);
}

}  // namespace dal
