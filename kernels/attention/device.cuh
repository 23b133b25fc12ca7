// The thin device layer: every instruction of the GPU that the kernels use, and nothing else.
// emulation.h is its twin for the host; the kernels see only the names declared here.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef MMEDGE_EMULATION
#include "emulation.h"
#else

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define DEVICE __device__ __forceinline__
// `blocks` is how many of them a multiprocessor has registers for: what caps them.
#define KERNEL(threads, blocks) __global__ void __launch_bounds__(threads, blocks)
#define UNROLL _Pragma("unroll")
#define UNROLL_BY_2 _Pragma("unroll 2")
#define SHARED_MEMORY(name) extern __shared__ __align__(16) uint16_t name[]

// D = A * B + D for A 16x16 (row major), B 16x8 (column major): PTX ISA, "mma.m16n8k16".
#define MMEDGE_MMA(TYPE)                                                                      \
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE ".f32 "                 \
               "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};\n"                         \
               : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])                       \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))

struct Fp16 {
  static DEVICE uint32_t pack(float low, float high) {
    __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<uint32_t*>(&pair);
  }
  static DEVICE float unpack(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
  static DEVICE void mma(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    MMEDGE_MMA("f16");
  }
};

struct Bf16 {
  static DEVICE uint32_t pack(float low, float high) {
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t*>(&pair);
  }
  static DEVICE float unpack(uint16_t bits) {
    return __uint_as_float(static_cast<uint32_t>(bits) << 16);
  }
  static DEVICE void mma(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    MMEDGE_MMA("bf16");
  }
};

DEVICE uint32_t shared_address(const uint16_t* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// Four 8x8 matrices of 16-bit numbers; lane l gives the address of row l % 8 of matrix l / 8.
DEVICE void load_matrices(uint32_t (&out)[4], const uint16_t* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];\n"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(shared_address(row))
               : "memory");
}

DEVICE void load_matrices_transposed(uint32_t (&out)[4], const uint16_t* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3},[%4];\n"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(shared_address(row))
               : "memory");
}

// Copies 16 bytes in the background; where `valid` is false nothing is read and zeros arrive.
DEVICE void copy_async(uint16_t* shared, const uint16_t* global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0],[%1],16,%2;\n" ::"r"(shared_address(shared)),
               "l"(global), "r"(valid ? 16 : 0)
               : "memory");
}

DEVICE void commit_copies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }

// Waits until at most PENDING of this thread's committed groups are still under way.
template <int PENDING>
DEVICE void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(PENDING) : "memory");
}

DEVICE void block_barrier() { __syncthreads(); }
DEVICE float shuffle_xor(float value, int mask) { return __shfl_xor_sync(~0u, value, mask); }
DEVICE int thread_index() { return threadIdx.x; }
DEVICE int64_t block_index() { return blockIdx.x; }

DEVICE float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0,%1;" : "=f"(y) : "f"(x));
  return y;
}

DEVICE float log2_fast(float x) { return __log2f(x); }

template <class Value>
DEVICE Value load_global(const Value* from) {
  return *from;
}

template <class Value>
DEVICE void store_global(void* to, Value value) {
  *reinterpret_cast<Value*>(to) = value;
}

// --- The host's side -------------------------------------------------------------------------

constexpr size_t SHARED_BYTES_WITHOUT_ASKING = 48 * 1024;  // CUDA programming guide, table 27

template <class Argument>
const char* launch(void (*kernel)(Argument), int64_t blocks, int threads, size_t shared_bytes,
                   void* stream, const Argument& argument) {
  cudaError_t error = cudaSuccess;
  if (shared_bytes > SHARED_BYTES_WITHOUT_ASKING)
    error = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                 cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(shared_bytes));
  if (error == cudaSuccess) {
    void* arguments[] = {const_cast<Argument*>(&argument)};
    error = cudaLaunchKernel(reinterpret_cast<const void*>(kernel),
                             dim3(static_cast<unsigned>(blocks)), dim3(threads), arguments,
                             shared_bytes, static_cast<cudaStream_t>(stream));
  }
  if (error == cudaSuccess) return nullptr;
  cudaGetLastError();  // the caller has been told: it is not left behind for somebody else
  return cudaGetErrorString(error);
}

// Of the current device; a machine without one has a number too, so that nothing divides by 0.
inline int multiprocessors() {
  int device = 0;
  int count = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return 1;
  cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
  return count > 0 ? count : 1;
}

#endif
