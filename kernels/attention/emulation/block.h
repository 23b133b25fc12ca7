// The thread block that is running: its threads as fibers, its warps, its barrier.
// A thread runs until it has to wait. Who goes on is drawn from the seed: one seed lets a warp run
// far ahead of the others, the next keeps them close, so that a missing barrier changes a result.
#pragma once

#include <stdarg.h>
#include <stdio.h>

#include <vector>

#include "fiber.h"

namespace emulation {

constexpr int WARP = 32;
constexpr int MAX_THREADS = 1024;

struct Warp {
  std::vector<int> ready;
  int arrived = 0;
  const char* collective = nullptr;
  const void* given[WARP];
  void* wanted[WARP];
};

struct Block {
  Fiber host;
  Fiber threads[MAX_THREADS];
  std::vector<Warp> warps;
  int64_t index = 0;
  int size = 0, current = 0, alive = 0, at_barrier = 0;
  uint32_t epoch = 1;  // barriers passed by the whole block, and 1
  uint32_t random = 1;
  uint32_t patience = 0;  // how seldom another warp is taken: a mask of random bits
  char failure[512] = "";
};

inline Block block;

// Ends the launch: the first mistake is the one that is told.
[[noreturn]] inline void fail(const char* format, ...) {
  char what[400];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(what, sizeof what, format, arguments);
  va_end(arguments);
  snprintf(block.failure, sizeof block.failure, "%s (block %lld, thread %d)", what,
           static_cast<long long>(block.index), block.current);
  Fiber::change(block.threads[block.current], block.host);
  abort();  // a failed block is never gone back to
}

inline uint32_t next_random() {  // xorshift32, Marsaglia 2003
  block.random ^= block.random << 13;
  block.random ^= block.random >> 17;
  return block.random ^= block.random << 5;
}

inline void make_ready(int thread) { block.warps[thread / WARP].ready.push_back(thread); }

inline int take_from(Warp& warp) {
  const size_t drawn = next_random() % warp.ready.size();
  const int thread = warp.ready[drawn];
  warp.ready[drawn] = warp.ready.back();
  warp.ready.pop_back();
  return thread;
}

// The thread that goes on, or -1 where all wait.
inline int choose_thread() {
  Warp& here = block.warps[block.current / WARP];
  if (!here.ready.empty() && (next_random() & block.patience)) return take_from(here);
  const size_t count = block.warps.size();
  const size_t first = next_random() % count;
  for (size_t i = 0; i < count; i++) {
    Warp& warp = block.warps[(first + i) % count];
    if (!warp.ready.empty()) return take_from(warp);
  }
  return -1;
}

[[noreturn]] inline void fail_of_deadlock() {
  for (size_t i = 0; i < block.warps.size(); i++) {
    const Warp& warp = block.warps[i];
    if (warp.arrived)
      fail("deadlock: %d of %d threads of warp %d came to %s", warp.arrived, WARP,
           static_cast<int>(i), warp.collective);
  }
  fail("deadlock: %d of %d threads came to the barrier", block.at_barrier, block.size);
}

// Lets others run until somebody makes this thread ready.
inline void wait_here() {
  const int before = block.current;
  const int next = choose_thread();
  if (next < 0) fail_of_deadlock();
  if (next == before) return;
  block.current = next;
  Fiber::change(block.threads[before], block.threads[next]);
}

inline void finish_thread() {
  const int before = block.current;
  if (--block.alive == 0) {
    Fiber::change(block.threads[before], block.host);
  } else {
    const int next = choose_thread();
    if (next < 0) fail_of_deadlock();
    block.current = next;
    Fiber::change(block.threads[before], block.threads[next]);
  }
  abort();  // a finished thread is never gone back to
}

inline void block_barrier() {
  if (++block.at_barrier < block.size) return wait_here();
  block.at_barrier = 0;
  block.epoch++;
  for (int thread = 0; thread < block.size; thread++)
    if (thread != block.current) make_ready(thread);
}

// What a warp does as one: `act` runs once, when its 32 threads have all come to the same place.
template <class Act>
inline void together(const char* name, const void* given, void* wanted, Act act) {
  Warp& warp = block.warps[block.current / WARP];
  if (warp.arrived == 0) warp.collective = name;
  if (warp.collective != name)
    fail("divergent warp: one thread is at %s, another at %s", warp.collective, name);
  warp.given[block.current % WARP] = given;
  warp.wanted[block.current % WARP] = wanted;
  if (++warp.arrived < WARP) return wait_here();
  act(warp);
  warp.arrived = 0;
  const int first = block.current / WARP * WARP;
  for (int thread = first; thread < first + WARP; thread++)
    if (thread != block.current) make_ready(thread);
}

}  // namespace emulation
