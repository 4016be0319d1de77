// One small kernel for each feature of CUDA C++ that the shim models, with its result in plain C++.
#include "sample.h"

namespace {

constexpr int kThreads = 128;
constexpr unsigned kAll = 0xffffffffu;

std::vector<int> numbers() {
  std::vector<int> v(kThreads);
  for (int i = 0; i < kThreads; ++i) v[size_t(i)] = i * 37 % 101;
  return v;
}

template <int kFactor>
__global__ void reverse(const int* in, int* out) {
  DAL_DYNAMIC_SHARED(int, s);
  s[threadIdx.x] = in[threadIdx.x] * kFactor;
  __syncthreads();
  out[threadIdx.x] = s[blockDim.x - 1 - threadIdx.x];
}

void dynamic_shared() {
  const auto in = numbers();
  std::vector<int> out(kThreads);
  constexpr int kBytes = 100 << 10;
  DAL_LAUNCH((reverse<3>), 1, kThreads, kBytes, nullptr, in.data(), out.data());
  expect(cudaGetLastError() == cudaErrorInvalidConfiguration, "100 KB without asking");
  cudaFuncSetAttribute(reverse<3>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  DAL_LAUNCH((reverse<3>), 1, kThreads, kBytes, nullptr, in.data(), out.data());
  check_launch("reverse");
  cudaFuncSetAttribute(reverse<3>, cudaFuncAttributeMaxDynamicSharedMemorySize, 48 << 10);
  for (size_t i = 0; i < kThreads; ++i) expect(out[i] == 3 * in[kThreads - 1 - i], "reversed");
}

__global__ void shuffles(const int* in, int4* out) {
  const int t = int(threadIdx.x), v = in[t];
  out[t] = make_int4(__shfl_xor_sync(kAll, v, 16), __shfl_up_sync(kAll, v, 1),
                     __shfl_down_sync(kAll, v, 3, 8), __shfl_sync(kAll, v, 5, 8));
}

void warp_shuffles() {
  const auto in = numbers();
  std::vector<int4> out(kThreads);
  DAL_LAUNCH(shuffles, 1, kThreads, 0, nullptr, in.data(), out.data());
  check_launch("shuffles");
  for (size_t i = 0; i < kThreads; ++i) {
    expect(out[i].x == in[i ^ 16], "xor");
    expect(out[i].y == in[i % 32 ? i - 1 : i], "up");
    expect(out[i].z == in[i % 8 < 5 ? i + 3 : i], "down");
    expect(out[i].w == in[i / 8 * 8 + 5], "from lane 5");
  }
}

__global__ void votes(const int* in, int4* out) {
  const int t = int(threadIdx.x), v = in[t];
  int half;  // of a warp: two groups of lanes at the same time
  if (t % 32 < 16)
    half = __reduce_add_sync(0x0000ffffu, v);
  else
    half = -__reduce_add_sync(0xffff0000u, v);
  __syncwarp();
  out[t] = make_int4(__popc(__ballot_sync(kAll, v & 1)), half, __syncthreads_count(v & 1),
                     __syncthreads_or(v == 36) + 2 * __syncthreads_and(v < 101));
}

void warp_and_block_votes() {
  const auto in = numbers();
  std::vector<int4> out(kThreads);
  DAL_LAUNCH(votes, 1, kThreads, 0, nullptr, in.data(), out.data());
  check_launch("votes");
  int odd = 0, any = 0;
  for (int v : in) odd += v & 1, any |= v == 36;
  for (size_t i = 0; i < kThreads; ++i) {
    int warp_odd = 0, half = 0;
    for (size_t j = 0; j < 32; ++j) warp_odd += in[i / 32 * 32 + j] & 1;
    for (size_t j = 0; j < 16; ++j) half += in[i / 16 * 16 + j];
    expect(out[i].x == warp_odd && out[i].y == (i % 32 < 16 ? half : -half), "warp");
    expect(out[i].z == odd && out[i].w == any + 2, "block");
  }
}

__global__ void convert(const float4* in, __half2* half, __nv_bfloat16* brain) {
  const float4 v = __ldg(in + threadIdx.x);
  half[threadIdx.x] = __floats2half2_rn(v.x + v.z, v.y * v.w);
  brain[threadIdx.x] = dal::cuda::from_float<__nv_bfloat16>(rsqrtf(v.w));
}

void vectors_and_halves() {
  std::vector<float4> in(8);
  for (size_t i = 0; i < 8; ++i) in[i] = make_float4(float(i), float(i) + 1, float(i) + 2, float(i) + 3);
  std::vector<__half2> half(8);
  std::vector<__nv_bfloat16> brain(8);
  DAL_LAUNCH(convert, 1, 8, 0, nullptr, in.data(), half.data(), brain.data());
  check_launch("convert");
  for (size_t i = 0; i < 8; ++i) {
    const float x = float(i);
    expect(__half2float(half[i].x) == 2 * x + 2, "half");
    expect(__half2float(half[i].y) == (x + 1) * (x + 3), "product of halves");
    expect(fabsf(__bfloat162float(brain[i]) - 1 / sqrtf(x + 3)) < 0.004f, "bfloat16");
  }
}

__global__ void count(unsigned long long* sum, float* lowest, int* places, int* taken) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  atomicAdd(sum, static_cast<unsigned long long>(i));
  atomicMin(taken, -i);
  atomicAdd(lowest, 0.5f);
  places[atomicAdd(taken + 1, 1)] = i;
  atomicCAS(taken + 2, 0, i + 1);
}

void atomics() {
  constexpr int n = 4 * kThreads;
  unsigned long long sum = 0;
  float halves = 0;
  int taken[3] = {};
  std::vector<int> places(n, -1);
  DAL_LAUNCH(count, 4, kThreads, 0, nullptr, &sum, &halves, places.data(), taken);
  check_launch("count");
  expect(sum == n * (n - 1) / 2 && halves == n / 2 && taken[0] == 1 - n && taken[1] == n, "sums");
  std::vector<bool> seen(n);
  for (int p : places) seen[size_t(p)] = true;
  for (bool s : seen) expect(s, "each thread has a place");
  expect(taken[2] >= 1 && taken[2] <= n, "one thread wins");
}

// Blocks run side by side and keep shared memory of their own, though it has one address.
__global__ void own_memory(int* out) {
  __shared__ int s[kThreads];
  for (int step = 0; step < 3; ++step) {
    s[threadIdx.x] = int(blockIdx.x) * 1000 + step;
    atomicAdd(out, 0);  // a place where another block may come in between
    __syncthreads();
    const int other = s[(threadIdx.x + 33) % kThreads];
    if (other != int(blockIdx.x) * 1000 + step) atomicAdd(out, 1);
    __syncthreads();
  }
}

void resident_blocks() {
  int wrong = 0;
  DAL_LAUNCH(own_memory, 7, kThreads, 0, nullptr, &wrong);
  check_launch("own_memory");
  expect(wrong == 0, "shared memory of another block");
}

struct Parameters {
  int size[3];
  float table[64];
};
__global__ void place(Parameters p, float* out) {
  const int x = int(blockIdx.x * blockDim.x + threadIdx.x), y = int(blockIdx.y * blockDim.y + threadIdx.y);
  const int z = int(blockIdx.z * blockDim.z + threadIdx.z);
  if (x >= p.size[2] || y >= p.size[1] || z >= p.size[0]) return;
  out[(z * p.size[1] + y) * p.size[2] + x] = p.table[x] + p.table[y] * float(gridDim.y) + float(z);
}

void grid_and_parameters() {
  Parameters p{{3, 5, 7}, {}};
  for (int i = 0; i < 64; ++i) p.table[i] = float(i);
  std::vector<float> out(3 * 5 * 7);
  DAL_LAUNCH(place, dim3(2, 3, 2), dim3(4, 2, 2), 0, nullptr, p, out.data());
  check_launch("place");
  for (size_t z = 0; z < 3; ++z)
    for (size_t y = 0; y < 5; ++y)
      for (size_t x = 0; x < 7; ++x) expect(out[(z * 5 + y) * 7 + x] == float(x + 3 * y + z), "place");
}

__global__ void bits(int* wrong) {
  atomicAdd(wrong, __byte_perm(0x33221100u, 0x77665544u, 0x6420u) != 0x66442200u);
  atomicAdd(wrong, __funnelshift_l(0x80000000u, 1u, 1) != 3u);
  atomicAdd(wrong, __vmaxu4(0x01ff0380u, 0x02010481u) != 0x02ff0481u);
  atomicAdd(wrong, __vmins2(0x00018000u, 0xffff7fffu) != 0xffff8000u);
  atomicAdd(wrong, __clz(1) + __ffs(8) + __popc(255u) != 31 + 4 + 8);
  atomicAdd(wrong, min(3, 4u) != 3u || max(-1L, 2L) != 2L);
  atomicAdd(wrong, __float_as_int(1.0f) != 0x3f800000 || __saturatef(nanf("")) != 0);
}

void bit_intrinsics() {
  int wrong = 0;
  DAL_LAUNCH(bits, 1, 1, 0, nullptr, &wrong);
  check_launch("bits");
  expect(wrong == 0, "an intrinsic");
}

__global__ void fail_in(int block) {
  if (int(blockIdx.x) == block && threadIdx.x == 5) __trap();
  __syncthreads();
}

// A failed launch says so once; the next one is as good as ever.
void failure_and_after() {
  DAL_LAUNCH(fail_in, 4, 64, 0, nullptr, 2);
  std::string message;
  try {
    check_launch("fail_in");
  } catch (const std::runtime_error& error) {
    message = error.what();
  }
  expect(message.find("block (2,0,0), thread (5,0,0)") != std::string::npos, message);
  expect(cudaGetLastError() == cudaSuccess, "the error is reported twice");
  DAL_LAUNCH(fail_in, 4, 2048, 0, nullptr, 9);
  expect(cudaGetLastError() == cudaErrorInvalidConfiguration, "2048 threads");
  DAL_LAUNCH(fail_in, 4, 64, 0, nullptr, 9);
  check_launch("fail_in");
}

constexpr Sample kSamples[] = {
    {"dynamic shared memory", dynamic_shared},
    {"warp shuffles", warp_shuffles},
    {"votes", warp_and_block_votes},
    {"vectors and halves", vectors_and_halves},
    {"atomics", atomics},
    {"resident blocks", resident_blocks},
    {"grid and parameters", grid_and_parameters},
    {"bit intrinsics", bit_intrinsics},
    {"failure and after", failure_and_after},
};

}  // namespace

EXPORT_SAMPLES(kSamples)
