// Split-KV decode (Flash-Decoding, Dao et al. 2023): few queries over a long cache would leave most
// of the GPU idle, so the keys of one row are cut into parts, a block for each. A part leaves its
// output and the base-2 logarithm of its sum of exponentials in the workspace, in fp32; a second
// kernel weighs the parts. The order of every addition is fixed, so results repeat bit by bit.
#pragma once

#include "softmax.cuh"

// The workspace: output[splits][rows][head_size], then log_sum[splits][rows], where a row is one
// query of one head of one batch.
DEVICE int64_t count_rows(const MmedgeAttention& call) {
  return static_cast<int64_t>(call.batch) * call.num_heads * call.max_query_length;
}

DEVICE float* part_outputs(const MmedgeAttention& call) {
  return static_cast<float*>(call.workspace);
}

DEVICE float* part_log_sums(const Launch& launch) {
  const MmedgeAttention& call = launch.call;
  return part_outputs(call) + launch.splits * count_rows(call) * call.head_size;
}

DEVICE int64_t workspace_row(const MmedgeAttention& call, int batch, int head, int query) {
  return (static_cast<int64_t>(batch) * call.num_heads + head) * call.max_query_length + query;
}

template <class Shape>
DEVICE void store_part(const Launch& launch, const Work& work, const Rows<Shape>& rows,
                       int first_row, int first_column, const float (&inverse)[2]) {
  const MmedgeAttention& call = launch.call;
  UNROLL
  for (int half = 0; half < 2; half++) {
    const int row = first_row + half * 8;
    if (row >= work.row_end) continue;
    const Row place = find_row<Shape>(work, row);
    const int64_t at =
        work.split * count_rows(call) +
        workspace_row(call, work.batch, work.first_head + place.head, place.query);
    float* to = part_outputs(call) + at * call.head_size;
    UNROLL
    for (int i = 0; i < Shape::HEAD / 8; i++) {
      const int column = i * 8 + first_column;
      if (column >= call.head_size) continue;
      store_global(to + column, rows.output[i][2 * half] * inverse[half]);
      store_global(to + column + 1, rows.output[i][2 * half + 1] * inverse[half]);
    }
    const float sum = rows.sum[half];
    const float greatest = rows.greatest[half] * exponent_scale<Shape>(call);
    const float log_sum = sum == 0.0f ? -INFINITY : greatest + log2_fast(sum);
    if (first_column == 0) store_global(part_log_sums(launch) + at, log_sum);
  }
}

constexpr int MERGE_THREADS = 128;
constexpr int MERGE_ROWS = MERGE_THREADS / 32;  // a warp for each row

// weight of a part = exp2(its log_sum - the greatest); NaN stays NaN, and no part at all gives 0.
template <class Number>
KERNEL(MERGE_THREADS, 1) merge_parts(Launch launch) {
  const MmedgeAttention& call = launch.call;
  const int64_t rows = count_rows(call);
  const int64_t row = block_index() * MERGE_ROWS + warp_index();
  if (row >= rows) return;
  const float* log_sums = part_log_sums(launch) + row;
  const float* outputs = part_outputs(call) + row * call.head_size;
  float greatest = -INFINITY;
  for (int split = 0; split < launch.splits; split++)
    greatest = fmaxf(greatest, load_global(log_sums + split * rows));
  const float shift = greatest == -INFINITY ? 0.0f : greatest;
  const int query = static_cast<int>(row % call.max_query_length);
  const int64_t rest = row / call.max_query_length;
  const int64_t* strides = call.output_strides;
  uint16_t* to = static_cast<uint16_t*>(call.output) + rest / call.num_heads * strides[0] +
                 query * strides[1] + rest % call.num_heads * strides[2];
  for (int column = lane_index() * 2; column < call.head_size; column += 64) {
    float low = 0.0f, high = 0.0f, sum = 0.0f;
    for (int split = 0; split < launch.splits; split++) {
      const float weight = exp2_fast(load_global(log_sums + split * rows) - shift);
      const float* part = outputs + split * rows * call.head_size + column;
      low += weight * load_global(part);
      high += weight * load_global(part + 1);
      sum += weight;
    }
    const float inverse = sum == 0.0f ? 0.0f : 1.0f / sum;
    store_global(to + column, Number::pack(low * inverse, high * inverse));
  }
}
