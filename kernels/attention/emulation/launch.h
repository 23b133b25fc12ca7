// A launch on the host: the blocks one after the other, each with all its threads at once.
#pragma once


#include "instructions.h"

namespace emulation {

constexpr uint32_t PATIENCE[] = {0, 1, 15, 255};

struct Settings {
  uint32_t seed = 1;
  int multiprocessors = 16;
};

inline Settings settings;
inline void (*run_body)();

inline int multiprocessors() { return settings.multiprocessors; }

inline void run_thread() {
  run_body();
  if (!copies[block.current].all.empty()) fail("copies are under way when the thread ends");
  finish_thread();
}

inline void begin_block(int64_t index, int threads, size_t shared_bytes) {
  shared.prepare(shared_bytes);
  block.index = index;
  block.size = block.alive = threads;
  block.at_barrier = 0;
  block.epoch = 1;
  block.warps.assign(threads / WARP, Warp());
  for (int thread = 0; thread < threads; thread++) {
    copies[thread] = Copies();
    block.threads[thread].prepare(run_thread);
    make_ready(thread);
  }
}

// The kernel that is launched, where a fiber's entry, which takes nothing, finds it.
template <class Argument>
struct Launched {
  static inline void (*kernel)(Argument);
  static inline const Argument* argument;
  static void run() { kernel(*argument); }
};

template <class Argument>
const char* launch(void (*kernel)(Argument), int64_t blocks, int threads, size_t shared_bytes,
                   void*, const Argument& argument) {
  block.failure[0] = 0;
  block.random = settings.seed * 2654435761u + 1;  // Knuth's multiplier: 0 is a seed too
  block.patience = PATIENCE[settings.seed % 4];
  Launched<Argument>::kernel = kernel;
  Launched<Argument>::argument = &argument;
  run_body = Launched<Argument>::run;
  global.begin_launch();
  for (int64_t index = 0; index < blocks && !block.failure[0]; index++) {
    begin_block(index, threads, shared_bytes);
    block.current = 0;
    block.current = choose_thread();
    Fiber::change(block.host, block.threads[block.current]);
  }
  return block.failure[0] ? block.failure : nullptr;
}

}  // namespace emulation
