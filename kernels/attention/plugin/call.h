// From the shapes that TensorRT tells to a call of the kernels' C interface.
#pragma once

#include "../attention.h"
#include "attributes.h"

namespace mmedge {

// Tactics have to be positive: 1 is the table's own choice, made anew for every shape, and the
// tile shapes follow. 0 is what TensorRT sets where it was told of none.
constexpr int32_t TABLES_CHOICE = 1;

inline int32_t tile_of(int32_t tactic) { return tactic > TABLES_CHOICE ? tactic - 2 : -1; }

// Rows are dense: [batch, row, head * size]; packed ones have a batch of 1, or no such axis.
inline void set_strides(int64_t (&strides)[3], const nvinfer1::Dims& dims, int32_t head_size) {
  const int64_t width = dims.d[dims.nbDims - 1];
  strides[0] = dims.nbDims == 3 ? dims.d[1] * width : 0;
  strides[1] = width;
  strides[2] = head_size;
}

// Axes of length 1 are broadcast; of the rows there is always one for each query.
inline void set_bias_strides(int64_t (&strides)[3], const nvinfer1::Dims& dims) {
  const int64_t heads = dims.d[1], rows = dims.d[2], keys = dims.d[3];
  strides[0] = dims.d[0] == 1 ? 0 : heads * rows * keys;
  strides[1] = heads == 1 ? 0 : rows * keys;
  strides[2] = keys;
}

inline bool has_ranks(const Attributes& attributes, const nvinfer1::Dims* const* dims) {
  const int32_t rank = dims[0]->nbDims;
  const bool packed = attributes.len_mode == CUMULATIVE_LENGTHS;
  if (rank != 3 && !(packed && rank == 2)) return false;
  if (packed && rank == 3 && dims[0]->d[0] != 1) return false;
  for (int32_t i = 0; i < 3; i++)
    if (dims[i]->nbDims != rank) return false;
  if (attributes.has_bias && dims[3]->nbDims != 4) return false;
  for (int32_t i = attributes.lengths_at(); i < attributes.inputs(); i++)
    if (dims[i]->nbDims != 1) return false;
  return true;
}

// All of a call but its pointers. dims: of each input, in the op's order, all known.
// False where the shapes are none of the op's.
inline bool make_call(MmedgeAttention& call, const Attributes& attributes,
                      const nvinfer1::Dims* const* dims, nvinfer1::DataType type) {
  if (!has_ranks(attributes, dims)) return false;
  const bool packed = attributes.len_mode == CUMULATIVE_LENGTHS;
  const nvinfer1::Dims &query = *dims[0], &key = *dims[1], &value = *dims[2];
  const int64_t width = query.d[query.nbDims - 1];
  if (width % attributes.num_heads) return false;
  memset(&call, 0, sizeof call);
  call.num_heads = attributes.num_heads;
  call.kv_num_heads = attributes.kv_num_heads;
  call.head_size = static_cast<int32_t>(width / attributes.num_heads);
  call.causal = attributes.causal;
  call.scale = attributes.scale;
  call.tactic = -1;
  call.dtype = type == nvinfer1::DataType::kBF16 ? MMEDGE_BF16 : MMEDGE_FP16;
  // Of packed rows only the sum of the lengths is known here: none is longer.
  const int32_t rows = query.nbDims - 2;
  call.batch = static_cast<int32_t>(packed ? dims[attributes.lengths_at()]->d[0] - 1 : query.d[0]);
  call.max_query_length = static_cast<int32_t>(query.d[rows]);
  call.max_key_length = static_cast<int32_t>(key.d[rows]);
  set_strides(call.query_strides, query, call.head_size);
  set_strides(call.output_strides, query, call.head_size);
  set_strides(call.key_strides, key, call.head_size);
  set_strides(call.value_strides, value, call.head_size);
  if (attributes.has_bias) set_bias_strides(call.bias_strides, *dims[3]);
  // Questions about packed rows are answered without the lengths themselves.
  static const int32_t some_lengths = 0;
  if (packed) call.cumulative_query_lengths = call.cumulative_key_lengths = &some_lengths;
  return true;
}

inline void set_pointers(MmedgeAttention& call, const Attributes& attributes,
                         const void* const* inputs, void* output, void* workspace) {
  const int32_t lengths = attributes.lengths_at();
  call.query = inputs[0];
  call.key = inputs[1];
  call.value = inputs[2];
  call.bias = attributes.has_bias ? inputs[3] : nullptr;
  call.output = output;
  call.workspace = workspace;
  if (attributes.len_mode == KEY_LENGTHS)
    call.key_lengths = static_cast<const int32_t*>(inputs[lengths]);
  if (attributes.len_mode == CUMULATIVE_LENGTHS) {
    call.cumulative_query_lengths = static_cast<const int32_t*>(inputs[lengths]);
    call.cumulative_key_lengths = static_cast<const int32_t*>(inputs[lengths + 1]);
  }
}

}  // namespace mmedge
