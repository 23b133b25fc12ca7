// What device.cuh offers, for the emulated threads.
#pragma once

#include "global_memory.h"
#include "number_formats.h"
#include "shared_memory.h"

namespace emulation {

struct Copy {
  uint16_t* to;
  const uint16_t* from;  // null: zeros
};

// The copies of one thread: those not yet committed, then a mark where each group ends.
struct Copies {
  std::vector<Copy> all;
  std::vector<size_t> group_ends;
};

inline Copies copies[MAX_THREADS];

inline int thread_index() { return block.current; }
inline int64_t block_index() { return block.index; }

inline void copy_async(uint16_t* to, const uint16_t* from, bool valid) {
  if (valid) global.check_read(from, GRANULE_BYTES);
  shared.begin_copy(to, block.current);
  copies[block.current].all.push_back({to, valid ? from : nullptr});
}

inline void commit_copies() {
  Copies& mine = copies[block.current];
  mine.group_ends.push_back(mine.all.size());
}

template <int PENDING>
inline void wait_for_copies() {
  Copies& mine = copies[block.current];
  if (mine.group_ends.size() <= PENDING) return;
  const size_t done = mine.group_ends.size() - PENDING;
  const size_t end = mine.group_ends[done - 1];
  for (size_t i = 0; i < end; i++) shared.end_copy(mine.all[i].to, mine.all[i].from, block.current);
  mine.all.erase(mine.all.begin(), mine.all.begin() + end);
  mine.group_ends.erase(mine.group_ends.begin(), mine.group_ends.begin() + done);
  for (size_t& later : mine.group_ends) later -= end;
}

// The 16 bytes at lane i * 8 + row's address are row `row` of matrix i.
template <bool TRANSPOSED>
inline void spread_matrices(Warp& warp) {
  const int first = block.current / WARP * WARP;
  for (int lane = 0; lane < WARP; lane++)
    shared.read(static_cast<const uint16_t*>(warp.given[lane]), first + lane);
  for (int lane = 0; lane < WARP; lane++) {
    const int group = lane / 4, pair = lane % 4 * 2;
    for (int i = 0; i < 4; i++) {
      auto at = [&](int row, int column) -> uint32_t {
        return static_cast<const uint16_t*>(warp.given[i * 8 + row])[column];
      };
      static_cast<uint32_t*>(warp.wanted[lane])[i] =
          TRANSPOSED ? at(pair, group) | at(pair + 1, group) << 16
                     : at(group, pair) | at(group, pair + 1) << 16;
    }
  }
}

inline void load_matrices(uint32_t (&out)[4], const uint16_t* row) {
  together("ldmatrix", row, out, spread_matrices<false>);
}

inline void load_matrices_transposed(uint32_t (&out)[4], const uint16_t* row) {
  together("ldmatrix.trans", row, out, spread_matrices<true>);
}

inline float shuffle_xor(float value, int mask) {
  struct Given {
    float value;
    int mask;
  } const given{value, mask};
  float wanted;
  together("shuffle", &given, &wanted, [](Warp& warp) {
    for (int lane = 0; lane < WARP; lane++) {
      const int other = lane ^ static_cast<const Given*>(warp.given[lane])->mask;
      *static_cast<float*>(warp.wanted[lane]) = static_cast<const Given*>(warp.given[other])->value;
    }
  });
  return wanted;
}

inline float exp2_fast(float x) { return exp2f(x); }
inline float log2_fast(float x) { return log2f(x); }

template <class Value>
inline Value load_global(const Value* from) {
  global.check_read(from, sizeof(Value));
  return *from;
}

template <class Value>
inline void store_global(void* to, Value value) {
  global.check_write(to, sizeof(Value));
  memcpy(to, &value, sizeof value);
}

}  // namespace emulation
