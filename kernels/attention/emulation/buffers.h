// The buffers of a call, as large as its shapes say, and the emulation's own settings.
#pragma once

#include "../attention.h"
#include "launch.h"

namespace emulation {

// Elements from the first to the last that `rows` rows of every batch and head touch.
inline size_t tensor_bytes(const MmedgeAttention& call, const int64_t* strides, int64_t batches,
                           int64_t rows, int64_t heads) {
  if (batches == 0 || rows == 0) return 0;
  const int64_t last =
      (batches - 1) * strides[0] + (rows - 1) * strides[1] + (heads - 1) * strides[2];
  return static_cast<size_t>(last + call.head_size) * sizeof(uint16_t);
}

inline size_t bias_bytes(const MmedgeAttention& call) {
  const int64_t* strides = call.bias_strides;
  const int64_t last = (call.batch - 1) * strides[0] + (call.num_heads - 1) * strides[1] +
                       (call.max_query_length - 1) * strides[2];
  return static_cast<size_t>(last + call.max_key_length) * sizeof(uint16_t);
}

inline void declare_buffers(const MmedgeAttention& call, size_t workspace_bytes) {
  const int32_t* packed_queries = call.cumulative_query_lengths;
  const int32_t* packed_keys = call.cumulative_key_lengths;
  const int64_t batches = packed_queries ? 1 : call.batch;
  const int64_t queries = packed_queries ? packed_queries[call.batch] : call.max_query_length;
  const int64_t keys = packed_keys ? packed_keys[call.batch] : call.max_key_length;
  const size_t lengths_bytes = static_cast<size_t>(call.batch) * sizeof(int32_t);
  auto bytes = [&](const int64_t* strides, int64_t rows, int64_t heads) {
    return tensor_bytes(call, strides, batches, rows, heads);
  };
  global.forget();
  global.declare("query", call.query, bytes(call.query_strides, queries, call.num_heads), false);
  global.declare("key", call.key, bytes(call.key_strides, keys, call.kv_num_heads), false);
  global.declare("value", call.value, bytes(call.value_strides, keys, call.kv_num_heads), false);
  global.declare("bias", call.bias, call.bias ? bias_bytes(call) : 0, false);
  global.declare("output", call.output, bytes(call.output_strides, queries, call.num_heads), true);
  global.declare("workspace", call.workspace, workspace_bytes, true);
  global.declare("key_lengths", call.key_lengths, lengths_bytes, false);
  const size_t ends_bytes = lengths_bytes + sizeof(int32_t);
  global.declare("cumulative_query_lengths", packed_queries, ends_bytes, false);
  global.declare("cumulative_key_lengths", packed_keys, ends_bytes, false);
}

}  // namespace emulation

// The order of threads is drawn from the seed; the splits follow from the multiprocessors.
extern "C" MMEDGE_API inline void mmedge_emulation_settings(uint32_t seed, int multiprocessors) {
  emulation::settings = {seed, multiprocessors};
}
// An inline function that nobody calls would not be emitted.
extern "C" MMEDGE_API void (*const mmedge_keep_emulation_settings)(uint32_t, int) =
    mmedge_emulation_settings;
