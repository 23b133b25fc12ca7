// What one thread block works on: a tile of query rows, and the keys that these rows see.
//
// A forward tile holds consecutive queries of one head. A split tile (split-KV decode) packs the
// query heads that share one key-value head into its rows, query by query, so that keys and values
// are read once for all of them: row r is head r % group of query r / group.
#pragma once

#include "attention.h"
#include "device.cuh"

struct Launch {
  MmedgeAttention call;
  int32_t row_tiles;  // of one head, or of one key-value head's group
  int32_t splits;     // parts that the keys are cut into; 1 in a forward launch
};

// HEAD: head size rounded up to 16, the depth of one mma. ROWS: 16 for each warp. KEYS: per step.
template <class NumberFormat, int HEAD_, int ROWS_, int KEYS_, bool BIAS_, bool SPLIT_>
struct TileShape {
  using Number = NumberFormat;
  static constexpr int HEAD = HEAD_, ROWS = ROWS_, KEYS = KEYS_;
  static constexpr bool BIAS = BIAS_, SPLIT = SPLIT_;
  static constexpr int THREADS = ROWS * 2;
  // Three blocks of four warps leave 168 registers to a thread: enough without spills up to here.
  static constexpr int RESIDENT_BLOCKS = THREADS == 128 && HEAD <= 64 && !BIAS ? 3 : 1;
  // 8 more than HEAD: eight rows then begin in eight different groups of four banks.
  static constexpr int PITCH = HEAD + 8;
  // Fragments of more than 128 columns would not fit beside the output's registers.
  static constexpr bool QUERY_IN_REGISTERS = HEAD <= 128;
  static constexpr int STAGE = 2 * KEYS * PITCH;  // keys and values of one step
  // Queries that move to registers first lie where the second step's keys will.
  static constexpr int QUERY_AT = QUERY_IN_REGISTERS ? STAGE : 2 * STAGE;
  static constexpr int QUERY_END = QUERY_AT + ROWS * PITCH;
  static constexpr int SHARED_ELEMENTS = QUERY_END > 2 * STAGE ? QUERY_END : 2 * STAGE;
  static constexpr size_t SHARED_BYTES = SHARED_ELEMENTS * sizeof(uint16_t);
};

struct Work {
  const uint16_t *query, *key, *value, *bias;
  uint16_t* output;
  int batch, first_head, kv_head, split;
  int queries, keys;       // of this row of the batch
  int group;               // heads packed into the rows
  int first_row, row_end;  // rows of the tile; row_end is where the head's (or group's) rows end
};

DEVICE const uint16_t* elements(const void* base) { return static_cast<const uint16_t*>(base); }

// Where the rows of one batch begin: packed rows follow one another, the others have a stride.
DEVICE int64_t batch_offset(const int32_t* cumulative, const int64_t* strides, int batch) {
  return cumulative ? load_global(cumulative + batch) * strides[1] : batch * strides[0];
}

DEVICE int packed_length(const int32_t* cumulative, int batch) {
  return load_global(cumulative + batch + 1) - load_global(cumulative + batch);
}

DEVICE int clamp(int value, int low, int high) {
  return value < low ? low : value > high ? high : value;
}

DEVICE int count_keys(const MmedgeAttention& call, int batch) {
  if (call.cumulative_key_lengths) return packed_length(call.cumulative_key_lengths, batch);
  if (!call.key_lengths) return call.max_key_length;
  return clamp(load_global(call.key_lengths + batch), 0, call.max_key_length);
}

// Which tile of rows, of which head, batch and split, a block has.
struct BlockPlace {
  int split, tile, head, batch;
};

DEVICE BlockPlace find_place(const Launch& launch, int heads) {
  BlockPlace place;
  int64_t rest = block_index();
  place.split = static_cast<int>(rest % launch.splits);
  rest /= launch.splits;
  // The last tiles see the most keys under a causal mask: they begin first.
  place.tile = launch.row_tiles - 1 - static_cast<int>(rest % launch.row_tiles);
  rest /= launch.row_tiles;
  place.head = static_cast<int>(rest % heads);
  place.batch = static_cast<int>(rest / heads);
  return place;
}

// Where a tensor's batch and head begin, in elements.
DEVICE int64_t offset_in(const int32_t* cumulative, const int64_t* strides, int batch, int head) {
  return batch_offset(cumulative, strides, batch) + head * strides[2];
}

template <class Shape>
DEVICE Work find_work(const Launch& launch) {
  const MmedgeAttention& call = launch.call;
  const int group = call.num_heads / call.kv_num_heads;
  const BlockPlace place = find_place(launch, Shape::SPLIT ? call.kv_num_heads : call.num_heads);
  const int batch = place.batch;
  Work work;
  work.split = place.split;
  work.batch = batch;
  work.group = Shape::SPLIT ? group : 1;
  work.kv_head = Shape::SPLIT ? place.head : place.head / group;
  work.first_head = Shape::SPLIT ? place.head * group : place.head;
  const int32_t* queries = call.cumulative_query_lengths;
  const int32_t* keys = call.cumulative_key_lengths;
  work.queries = queries ? packed_length(queries, batch) : call.max_query_length;
  work.keys = count_keys(call, batch);
  work.first_row = place.tile * Shape::ROWS;
  work.row_end = work.queries * work.group;
  work.query =
      elements(call.query) + offset_in(queries, call.query_strides, batch, work.first_head);
  work.key = elements(call.key) + offset_in(keys, call.key_strides, batch, work.kv_head);
  work.value = elements(call.value) + offset_in(keys, call.value_strides, batch, work.kv_head);
  work.bias = elements(call.bias) + batch * call.bias_strides[0] +
              work.first_head * call.bias_strides[1];
  work.output = static_cast<uint16_t*>(call.output) +
                offset_in(queries, call.output_strides, batch, work.first_head);
  return work;
}

// Which query and which head (counted from the first) a row of the tile is.
struct Row {
  int query, head;
};

template <class Shape>
DEVICE Row find_row(const Work& work, int row) {
  if (!Shape::SPLIT) return {row, 0};
  return {row / work.group, row % work.group};
}

DEVICE int64_t offset_of(const Row& row, const int64_t* strides) {
  return row.query * strides[1] + row.head * strides[2];
}

// How many keys a query sees: those below this number. It never shrinks from one query to the next.
DEVICE int count_visible(const Work& work, int causal, int query) {
  if (causal == MMEDGE_CAUSAL_NONE) return work.keys;
  const int offset = causal == MMEDGE_CAUSAL_LOWER_RIGHT ? work.keys - work.queries : 0;
  return clamp(query + offset + 1, 0, work.keys);
}

// As count_visible, for a row of the tile; a row past the end is as the last one.
template <class Shape>
DEVICE int count_visible_to_row(const Work& work, int causal, int row) {
  const int last = work.row_end - 1;
  return count_visible(work, causal, find_row<Shape>(work, row < last ? row : last).query);
}
