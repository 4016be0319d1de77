// Stands in for the toolkit's header of this name when g++ compiles a CUDA source for the CPU. Vector,
// half and bfloat16 types and the runtime's declarations are the toolkit's own; the language is ours.
#pragma once
#ifdef __CUDACC__
#error "tests/cuda_on_host is for the host's compiler; nvcc has its own cuda_runtime.h"
#endif
#include <cuda_runtime_api.h>
#include <vector_functions.h>
#include <vector_types.h>

#include "coh/atomics.h"
#include "coh/intrinsics.h"
#include "coh/language.h"
#include "coh/machine.h"
#include "coh/runtime.h"
#include "coh/warp.h"
