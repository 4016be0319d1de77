// The part of OpenVINO's C interface that is used, declared here so that nothing of OpenVINO is needed to
// build the library. The functions are looked up by name in whatever libopenvino_c is there, 2024.4 or
// later.
#pragma once
#include <cstddef>
#include <cstdint>

namespace dal::engine::openvino {

struct Core;
struct Model;
struct Compiled;
struct Infer;
struct Tensor;
struct Shape {
  int64_t rank;
  int64_t* dims;
};
struct Version {
  const char* build;
  const char* description;
};
struct Callback {
  void (*call)(void* user);
  void* user;
};
using Status = int;  // 0 is success

// DAL_OPENVINO(function, its parameters): all return a Status but those that free something.
#define DAL_OPENVINO_FUNCTIONS(F)                                                          \
  F(Status, ov_get_openvino_version, (Version*))                                           \
  F(void, ov_version_free, (Version*))                                                     \
  F(const char*, ov_get_error_info, (Status))                                              \
  F(Status, ov_core_create, (Core**))                                                      \
  F(void, ov_core_free, (Core*))                                                           \
  F(Status, ov_core_read_model_from_memory_buffer,                                         \
    (const Core*, const char* text, size_t length, const Tensor* weights, Model**))        \
  F(Status, ov_core_compile_model,                                                         \
    (const Core*, const Model*, const char* device, size_t words, Compiled**, ...))        \
  F(void, ov_model_free, (Model*))                                                         \
  F(Status, ov_compiled_model_create_infer_request, (const Compiled*, Infer**))            \
  F(void, ov_compiled_model_free, (Compiled*))                                             \
  F(Status, ov_infer_request_set_input_tensor_by_index, (Infer*, size_t, const Tensor*))   \
  F(Status, ov_infer_request_get_output_tensor_by_index, (const Infer*, size_t, Tensor**)) \
  F(Status, ov_infer_request_set_callback, (Infer*, const Callback*))                      \
  F(Status, ov_infer_request_start_async, (Infer*))                                        \
  F(Status, ov_infer_request_wait, (Infer*))                                               \
  F(Status, ov_infer_request_cancel, (Infer*))                                             \
  F(void, ov_infer_request_free, (Infer*))                                                 \
  F(Status, ov_tensor_create, (unsigned type, Shape, Tensor**))                            \
  F(Status, ov_tensor_create_from_host_ptr, (unsigned type, Shape, void*, Tensor**))       \
  F(Status, ov_tensor_get_shape, (const Tensor*, Shape*))                                  \
  F(Status, ov_tensor_get_byte_size, (const Tensor*, size_t*))                             \
  F(Status, ov_tensor_data, (const Tensor*, void**))                                       \
  F(void, ov_tensor_free, (Tensor*))                                                       \
  F(Status, ov_shape_free, (Shape*))

struct Api {
#define DAL_OPENVINO_MEMBER(result, name, parameters) result(*name) parameters;
  DAL_OPENVINO_FUNCTIONS(DAL_OPENVINO_MEMBER)
#undef DAL_OPENVINO_MEMBER
};

}  // namespace dal::engine::openvino
