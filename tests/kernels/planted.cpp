// Kernels with one mistake each, for the emulation's own tests: every mistake has to be refused.
#include "emulation.h"

namespace {

struct Buffers {
  const uint16_t* input;
  uint16_t* output;
};

constexpr int THREADS = 64;
constexpr int CHUNK = 8;  // elements of one copy
constexpr size_t SHARED_BYTES = THREADS * CHUNK * sizeof(uint16_t);

inline uint16_t* own(uint16_t* shared) { return shared + thread_index() * CHUNK; }
inline uint16_t* of_the_other_warp(uint16_t* shared) {
  return shared + (thread_index() ^ 32) * CHUNK;
}

void copy_own(uint16_t* shared, Buffers buffers) {
  copy_async(own(shared), buffers.input + thread_index() * CHUNK, true);
  commit_copies();
}

void copy_and_wait(uint16_t* to, const uint16_t* from) {
  copy_async(to, from, true);
  commit_copies();
  wait_for_copies<0>();
}

void store_sum(uint16_t* shared, Buffers buffers, uint16_t* from) {
  (void)shared;
  uint32_t fragment[4];
  load_matrices(fragment, from);
  store_global(buffers.output + thread_index() * 2, fragment[0] + fragment[3]);
}

void right(Buffers buffers) {
  SHARED_MEMORY(shared);
  copy_own(shared, buffers);
  wait_for_copies<0>();
  block_barrier();
  store_sum(shared, buffers, of_the_other_warp(shared));
}

void no_barrier(Buffers buffers) {
  SHARED_MEMORY(shared);
  copy_own(shared, buffers);
  wait_for_copies<0>();
  store_sum(shared, buffers, of_the_other_warp(shared));
}

void no_wait(Buffers buffers) {
  SHARED_MEMORY(shared);
  copy_own(shared, buffers);
  block_barrier();
  store_sum(shared, buffers, of_the_other_warp(shared));
}

void overwritten_while_read(Buffers buffers) {
  SHARED_MEMORY(shared);
  copy_own(shared, buffers);
  wait_for_copies<0>();
  block_barrier();
  store_sum(shared, buffers, of_the_other_warp(shared));
  copy_own(shared, buffers);
  wait_for_copies<0>();
}

void written_by_two(Buffers buffers) {
  SHARED_MEMORY(shared);
  copy_and_wait(shared, buffers.input);
}

void never_written(Buffers buffers) {
  SHARED_MEMORY(shared);
  store_sum(shared, buffers, own(shared));
}

void past_the_shared_memory(Buffers buffers) {
  SHARED_MEMORY(shared);
  copy_and_wait(own(shared) + CHUNK, buffers.input);
}

void misaligned_in_shared_memory(Buffers buffers) {
  SHARED_MEMORY(shared);
  copy_and_wait(own(shared) + 1, buffers.input);
}

void past_the_input(Buffers buffers) {
  SHARED_MEMORY(shared);
  copy_and_wait(own(shared), buffers.input + (thread_index() + THREADS) * CHUNK);
}

void misaligned_input(Buffers buffers) {
  SHARED_MEMORY(shared);
  copy_and_wait(own(shared), buffers.input + 1);
}

void written_twice(Buffers buffers) {
  store_global(buffers.output + thread_index() / 2 * 2, uint32_t{0});
}

void written_to_the_input(Buffers buffers) {
  store_global(const_cast<uint16_t*>(buffers.input) + thread_index() * 2, uint32_t{0});
}

void read_after_written(Buffers buffers) {
  store_global(buffers.output + thread_index() * 2, uint32_t{0});
  load_global(buffers.output + thread_index() * 2);
}

void divergent_warp(Buffers) {
  float value = 0.0f;
  float sum[4] = {};
  const uint32_t a[4] = {};
  if (thread_index() % 2) value = shuffle_xor(value, 1);
  else Fp16::mma(sum, a, 0, 0);
}

void half_a_warp(Buffers) {
  if (thread_index() % 2) shuffle_xor(0.0f, 1);
}

void barrier_for_some(Buffers) {
  if (thread_index() < 32) block_barrier();
}

void copies_left_behind(Buffers buffers) {
  SHARED_MEMORY(shared);
  copy_own(shared, buffers);
}

struct Planted {
  const char* name;
  void (*kernel)(Buffers);
};

#define PLANTED(name) {#name, name}
const Planted KERNELS[] = {
    PLANTED(right),
    PLANTED(no_barrier),
    PLANTED(no_wait),
    PLANTED(overwritten_while_read),
    PLANTED(written_by_two),
    PLANTED(never_written),
    PLANTED(past_the_shared_memory),
    PLANTED(misaligned_in_shared_memory),
    PLANTED(past_the_input),
    PLANTED(misaligned_input),
    PLANTED(written_twice),
    PLANTED(written_to_the_input),
    PLANTED(read_after_written),
    PLANTED(divergent_warp),
    PLANTED(half_a_warp),
    PLANTED(barrier_for_some),
    PLANTED(copies_left_behind),
};

}  // namespace

// What the emulation says to the kernel of this name; null where it finds nothing wrong.
extern "C" __attribute__((visibility("default"))) const char* run_planted(const char* name,
                                                                          uint32_t seed) {
  alignas(16) static uint16_t input[THREADS * CHUNK], output[THREADS * 2];
  emulation::global.forget();
  emulation::global.declare("input", input, sizeof input, false);
  emulation::global.declare("output", output, sizeof output, true);
  emulation::settings.seed = seed;
  for (const Planted& planted : KERNELS)
    if (strcmp(planted.name, name) == 0)
      return launch(planted.kernel, 1, THREADS, SHARED_BYTES, nullptr, Buffers{input, output});
  return "no such kernel";
}

// The emulation's rounding to fp16 or bf16 and back.
extern "C" __attribute__((visibility("default"))) void round_numbers(const float* values,
                                                                     int count, int to_bf16,
                                                                     uint16_t* rounded,
                                                                     float* widened) {
  for (int i = 0; i < count; i++) {
    rounded[i] = to_bf16 ? Bf16::round(values[i]) : Fp16::round(values[i]);
    widened[i] = to_bf16 ? Bf16::unpack(rounded[i]) : Fp16::unpack(rounded[i]);
  }
}
