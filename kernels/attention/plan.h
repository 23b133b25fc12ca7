// From a call to a launch: which variant runs it, and into how many parts the keys are cut.
#pragma once

#include "checks.h"
#include "variants.cuh"

namespace plan {

constexpr int LONGEST_DECODE = 16;  // queries; more of them fill the rows of a forward tile
constexpr int64_t MOST_SPLITS = 64;
// Blocks for each multiprocessor that hide the latency of a cache read once.
constexpr int64_t WANTED_BLOCKS_EACH = 4;
// No GPU has more: the workspace is sized where the GPU is not known yet.
constexpr int64_t MOST_MULTIPROCESSORS = 256;
constexpr int64_t MOST_BLOCKS = INT_MAX;  // of a grid's x axis

inline int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }

inline bool can_split(const MmedgeAttention& call) {
  return call.max_query_length <= LONGEST_DECODE && !call.cumulative_query_lengths;
}

inline bool runs(const Variant& variant, const MmedgeAttention& call) {
  return !variant.split || can_split(call);
}

inline int64_t count_row_tiles(const Variant& variant, const MmedgeAttention& call) {
  const int64_t group = variant.split ? call.num_heads / call.kv_num_heads : 1;
  return divide_up(call.max_query_length * group, variant.rows);
}

// Blocks of one split.
inline int64_t count_blocks(const Variant& variant, const MmedgeAttention& call) {
  const int64_t heads = variant.split ? call.kv_num_heads : call.num_heads;
  return count_row_tiles(variant, call) * call.batch * heads;
}

// Enough to fill the GPU, never more than there are steps.
inline int64_t count_splits(const Variant& variant, const MmedgeAttention& call, int processors) {
  if (!variant.split) return 1;
  int64_t splits = WANTED_BLOCKS_EACH * processors / count_blocks(variant, call);
  const int64_t steps = divide_up(call.max_key_length, variant.keys);
  if (splits > steps) splits = steps;
  if (splits > MOST_SPLITS) splits = MOST_SPLITS;
  return splits > 1 ? splits : 1;
}

// The first variant in the table's order that fills the GPU; of those that cannot, the one with the
// most blocks. Few queries go to a split tile: the smallest that holds them all.
inline const Variant* choose(const Instance& instance, const MmedgeAttention& call) {
  const Variant* best = nullptr;
  const int processors = multiprocessors();
  for (int i = 0; i < instance.count; i++) {
    const Variant& variant = instance.variants[i];
    if (variant.split != can_split(call)) continue;
    const bool fits = variant.split ? count_row_tiles(variant, call) == 1
                                    : count_blocks(variant, call) >= processors;
    if (fits) return &variant;
    const bool better = !best || (variant.split ? variant.rows > best->rows
                                                : variant.rows < best->rows);
    if (better) best = &variant;
  }
  return best;
}

inline const Variant* find_tactic(const Instance& instance, const MmedgeAttention& call) {
  if (call.tactic < 0) return choose(instance, call);
  int index = call.tactic;
  for (int i = 0; i < instance.count; i++)
    if (runs(instance.variants[i], call) && index-- == 0) return &instance.variants[i];
  return nullptr;
}

inline int count_tactics(const Instance& instance, const MmedgeAttention& call) {
  int count = 0;
  for (int i = 0; i < instance.count; i++) count += runs(instance.variants[i], call);
  return count;
}

inline int64_t bytes_for_parts(const MmedgeAttention& call, int64_t parts) {
  return parts * (call.head_size + 1) * static_cast<int64_t>(sizeof(float));
}

// splits <= wanted blocks / blocks, and a block has at most `rows` rows, so that splits * rows of
// the call is at most wanted blocks * rows of a tile: a bound that grows with every shape.
inline int64_t bound_workspace(const Instance& instance, const MmedgeAttention& call) {
  int64_t most = 0;
  const int64_t queries =
      call.max_query_length < LONGEST_DECODE ? call.max_query_length : LONGEST_DECODE;
  const int64_t rows = static_cast<int64_t>(call.batch) * call.num_heads * queries;
  for (int i = 0; i < instance.count; i++) {
    const Variant& variant = instance.variants[i];
    int64_t splits = divide_up(call.max_key_length, variant.keys);
    if (splits > MOST_SPLITS) splits = MOST_SPLITS;
    const int64_t filled = WANTED_BLOCKS_EACH * MOST_MULTIPROCESSORS * variant.rows;
    int64_t parts = rows * splits < filled ? rows * splits : filled;
    if (!variant.split || splits < 2) parts = 0;
    if (parts > most) most = parts;
  }
  return call.cumulative_query_lengths ? 0 : bytes_for_parts(call, most);
}

}  // namespace plan
