// What a call has to fulfil before it reaches a kernel. Every refusal says what was found.
#pragma once

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "attention.h"

namespace checks {

constexpr int64_t ALIGNMENT_BYTES = 16;    // of one asynchronous copy
constexpr int64_t ALIGNMENT_ELEMENTS = 8;  // the same in fp16 or bf16
constexpr int64_t WORD_BYTES = 4;
constexpr int32_t LARGEST_HEAD_SIZE = 256;

inline const char* refuse(const char* format, ...) {
  static thread_local char text[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return text;
}

inline const char* check_counts(const MmedgeAttention& call) {
  if (call.batch < 0 || call.max_query_length < 0 || call.max_key_length < 0)
    return refuse("batch %d, query length %d and key length %d must not be negative", call.batch,
                  call.max_query_length, call.max_key_length);
  if (call.num_heads < 1 || call.kv_num_heads < 1)
    return refuse("%d heads and %d key-value heads: both must be at least 1", call.num_heads,
                  call.kv_num_heads);
  if (call.num_heads % call.kv_num_heads)
    return refuse("%d heads are no multiple of %d key-value heads", call.num_heads,
                  call.kv_num_heads);
  if (call.head_size < 8 || call.head_size > LARGEST_HEAD_SIZE || call.head_size % 8)
    return refuse("head size %d is not a multiple of 8 from 8 to %d", call.head_size,
                  LARGEST_HEAD_SIZE);
  const int64_t group = call.num_heads / call.kv_num_heads;
  constexpr int64_t TILE_MARGIN = 1024;  // rows and keys are counted on past the last tile
  if (call.max_query_length * group > INT_MAX - TILE_MARGIN ||
      call.max_key_length > INT_MAX - TILE_MARGIN ||
      static_cast<int64_t>(call.max_query_length) + call.max_key_length > INT_MAX)
    return refuse("query length %d and key length %d are more than 32 bits can count",
                  call.max_query_length, call.max_key_length);
  return nullptr;
}

inline const char* check_attributes(const MmedgeAttention& call) {
  if (call.dtype != MMEDGE_FP16 && call.dtype != MMEDGE_BF16)
    return refuse("dtype %d is neither %d (fp16) nor %d (bf16)", call.dtype, MMEDGE_FP16,
                  MMEDGE_BF16);
  if (call.causal < MMEDGE_CAUSAL_NONE || call.causal > MMEDGE_CAUSAL_LOWER_RIGHT)
    return refuse("causal %d is not 0 (none), 1 (upper-left) or 2 (lower-right)", call.causal);
  if (!(call.scale > 0.0f) || isinf(call.scale))
    return refuse("scale %g is not a positive, finite number", call.scale);
  if (!call.cumulative_query_lengths != !call.cumulative_key_lengths)
    return refuse("packed rows need cumulative lengths of queries and of keys, not of one of them");
  if (call.cumulative_query_lengths && call.key_lengths)
    return refuse("key lengths and cumulative lengths exclude each other");
  if (call.cumulative_query_lengths && call.bias)
    return refuse("a bias needs rows of one length: it has no layout for packed ones");
  return nullptr;
}

inline const char* check_aligned(const char* name, const void* pointer, int64_t bytes) {
  if (!pointer) return refuse("%s is null", name);
  if (reinterpret_cast<uintptr_t>(pointer) % bytes)
    return refuse("%s does not begin at a multiple of %d bytes", name, static_cast<int>(bytes));
  return nullptr;
}

inline const char* check_tensor(const char* name, const void* pointer, const int64_t* strides) {
  static const char* const AXES[] = {"batch", "row", "head"};
  for (int axis = 0; axis < 3; axis++)
    if (strides[axis] % ALIGNMENT_ELEMENTS || strides[axis] < 0)
      return refuse("%s: the %s stride of %lld elements is not a multiple of %d", name, AXES[axis],
                    static_cast<long long>(strides[axis]), static_cast<int>(ALIGNMENT_ELEMENTS));
  return check_aligned(name, pointer, ALIGNMENT_BYTES);
}

inline const char* check_bias(const MmedgeAttention& call) {
  if (!call.bias) return nullptr;
  for (int axis = 0; axis < 3; axis++)
    if (call.bias_strides[axis] < 0) return refuse("bias: a stride is negative");
  return check_aligned("bias", call.bias, sizeof(uint16_t));
}

// Whatever is not needed for an empty result may be missing.
inline const char* check_tensors(const MmedgeAttention& call) {
  const char* wrong = check_tensor("query", call.query, call.query_strides);
  if (!wrong) wrong = check_tensor("output", call.output, call.output_strides);
  if (!wrong && call.max_key_length > 0) {
    wrong = check_tensor("key", call.key, call.key_strides);
    if (!wrong) wrong = check_tensor("value", call.value, call.value_strides);
  }
  if (!wrong) wrong = check_bias(call);
  const void* lengths[] = {call.key_lengths, call.cumulative_query_lengths,
                           call.cumulative_key_lengths};
  for (const void* pointer : lengths)
    if (!wrong && pointer) wrong = check_aligned("a lengths array", pointer, WORD_BYTES);
  return wrong;
}

inline const char* check_call(const MmedgeAttention& call) {
  const char* wrong = check_counts(call);
  if (!wrong) wrong = check_attributes(call);
  if (!wrong && call.batch > 0 && call.max_query_length > 0) wrong = check_tensors(call);
  return wrong;
}

}  // namespace checks
