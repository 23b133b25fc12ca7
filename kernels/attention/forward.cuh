// The attention kernel: FlashAttention-2's forward pass (arXiv 2307.08691) on mma.m16n8k16.
//
// A block owns ROWS query rows, 16 for each warp, and walks over the keys in steps of KEYS. While a
// step is computed the next one's keys and values are copied into the other stage of shared memory,
// which takes one barrier for each step: it says both that the step has arrived for everybody and
// that everybody has left the stage that is filled next.
#pragma once

#include "decode.cuh"
#include "softmax.cuh"

template <class Shape>
using Scores = float[Shape::KEYS / 8][4];

template <class Shape>
using QueryFragments = uint32_t[Shape::QUERY_IN_REGISTERS ? Shape::HEAD / 16 : 1][4];

// scores = query * keys^T, not yet scaled.
template <class Shape>
DEVICE void multiply_keys(Scores<Shape>& scores, QueryFragments<Shape>& queries,
                          const uint16_t* shared, const uint16_t* keys) {
  UNROLL
  for (int j = 0; j < Shape::KEYS / 8; j++) {
    UNROLL
    for (int i = 0; i < 4; i++) scores[j][i] = 0.0f;
  }
  UNROLL
  for (int d = 0; d < Shape::HEAD / 16; d++) {
    uint32_t(&query)[4] = queries[Shape::QUERY_IN_REGISTERS ? d : 0];
    if (!Shape::QUERY_IN_REGISTERS) load_query_fragment<Shape>(query, shared, d * 16);
    UNROLL
    for (int j = 0; j < Shape::KEYS / 8; j += 2) {
      uint32_t key[4];
      load_key_fragment<Shape>(key, keys, j * 8, d * 16);
      Shape::Number::mma(scores[j], query, key[0], key[1]);
      Shape::Number::mma(scores[j + 1], query, key[2], key[3]);
    }
  }
}

// scores = scores * scale + bias, where the row sees the key.
template <class Shape>
DEVICE void add_bias(Scores<Shape>& scores, const MmedgeAttention& call, const Work& work,
                     int first_row, int first_key, const int (&visible)[2]) {
  UNROLL
  for (int half = 0; half < 2; half++) {
    const int row = first_row + half * 8;
    const Row place = find_row<Shape>(work, row < work.row_end ? row : work.row_end - 1);
    const uint16_t* bias =
        work.bias + place.head * call.bias_strides[1] + place.query * call.bias_strides[2];
    UNROLL
    for (int j = 0; j < Shape::KEYS / 8; j++) {
      UNROLL
      for (int i = 0; i < 2; i++) {
        const int key = first_key + j * 8 + i;
        const float added =
            key < visible[half] ? Shape::Number::unpack(load_global(bias + key)) : 0.0f;
        float& score = scores[j][2 * half + i];
        score = score * call.scale + added;
      }
    }
  }
}

template <class Shape>
DEVICE void hide(Scores<Shape>& scores, int first_key, const int (&visible)[2]) {
  UNROLL
  for (int j = 0; j < Shape::KEYS / 8; j++) {
    UNROLL
    for (int i = 0; i < 4; i++)
      if (first_key + j * 8 + i % 2 >= visible[i / 2]) scores[j][i] = -INFINITY;
  }
}

// output += weights * values; the weights' fragments are the scores' own registers.
template <class Shape>
DEVICE void multiply_values(Rows<Shape>& rows, const Scores<Shape>& weights,
                            const uint16_t* values) {
  using Number = typename Shape::Number;
  UNROLL
  for (int j = 0; j < Shape::KEYS / 8; j += 2) {
    const uint32_t weight[4] = {Number::pack(weights[j][0], weights[j][1]),
                                Number::pack(weights[j][2], weights[j][3]),
                                Number::pack(weights[j + 1][0], weights[j + 1][1]),
                                Number::pack(weights[j + 1][2], weights[j + 1][3])};
    UNROLL
    for (int d = 0; d < Shape::HEAD / 16; d++) {
      uint32_t value[4];
      load_value_fragment<Shape>(value, values, j * 8, d * 16);
      Number::mma(rows.output[2 * d], weight, value[0], value[1]);
      Number::mma(rows.output[2 * d + 1], weight, value[2], value[3]);
    }
  }
}

template <class Shape>
DEVICE void store_output(const MmedgeAttention& call, const Work& work, const Rows<Shape>& rows,
                         int first_row, int first_column, const float (&inverse)[2]) {
  UNROLL
  for (int half = 0; half < 2; half++) {
    const int row = first_row + half * 8;
    if (row >= work.row_end) continue;
    uint16_t* to = work.output + offset_of(find_row<Shape>(work, row), call.output_strides);
    UNROLL
    for (int i = 0; i < Shape::HEAD / 8; i++) {
      const int column = i * 8 + first_column;
      if (column >= call.head_size) continue;
      store_global(to + column, Shape::Number::pack(rows.output[i][2 * half] * inverse[half],
                                                    rows.output[i][2 * half + 1] * inverse[half]));
    }
  }
}

// The steps that a block walks over: all that its last row sees, or its split's part of them.
struct Steps {
  int begin, end;
};

template <class Shape>
DEVICE Steps find_steps(const Launch& launch, const Work& work) {
  const int last_row = work.first_row + Shape::ROWS - 1;
  const int seen = count_visible_to_row<Shape>(work, launch.call.causal, last_row);
  const int steps = (seen + Shape::KEYS - 1) / Shape::KEYS;
  if (!Shape::SPLIT) return {0, steps};
  const int steps_of_split = (steps + launch.splits - 1) / launch.splits;
  const int begin = work.split * steps_of_split;
  return {begin, clamp(begin + steps_of_split, 0, steps)};
}

// What a thread and its warp see. A thread holds two rows, `row` and `row` + 8.
struct Sight {
  int row, column;
  int visible[2];                      // keys that each of the two rows sees
  int visible_to_all, visible_to_any;  // and the warp's 16 rows
};

template <class Shape>
DEVICE Sight find_sight(const Work& work, int causal) {
  auto count = [&](int row) { return count_visible_to_row<Shape>(work, causal, row); };
  const int warp_row = work.first_row + warp_index() * 16;
  const int row = warp_row + lane_index() / 4;
  const int column = lane_index() % 4 * 2;
  return {row, column, {count(row), count(row + 8)}, count(warp_row), count(warp_row + 15)};
}

// One step of a warp, whose keys and values lie at `stage`.
template <class Shape>
DEVICE void attend_step(Rows<Shape>& rows, QueryFragments<Shape>& queries,
                        const MmedgeAttention& call, const Work& work, const Sight& sight,
                        const uint16_t* shared, const uint16_t* stage, int first_key) {
  Scores<Shape> scores;
  multiply_keys<Shape>(scores, queries, shared, stage);
  const int key = first_key + sight.column;
  if (Shape::BIAS) add_bias<Shape>(scores, call, work, sight.row, key, sight.visible);
  if (first_key + Shape::KEYS > sight.visible_to_all) hide<Shape>(scores, key, sight.visible);
  exponentiate<Shape>(scores, rows, exponent_scale<Shape>(call));
  multiply_values<Shape>(rows, scores, stage + Shape::KEYS * Shape::PITCH);
}

template <class Shape>
DEVICE void load_queries(QueryFragments<Shape>& queries, const uint16_t* shared) {
  wait_for_copies<1>();
  block_barrier();
  UNROLL
  for (int d = 0; d < Shape::HEAD / 16; d++)
    load_query_fragment<Shape>(queries[Shape::QUERY_IN_REGISTERS ? d : 0], shared, d * 16);
}

template <class Shape>
KERNEL(Shape::THREADS, Shape::RESIDENT_BLOCKS) attend(Launch launch) {
  SHARED_MEMORY(shared);
  const Work work = find_work<Shape>(launch);
  if (work.first_row >= work.row_end) return;  // packed rows of which this batch has fewer
  const Steps steps = find_steps<Shape>(launch, work);
  const Sight sight = find_sight<Shape>(work, launch.call.causal);

  copy_queries<Shape>(shared, launch, work);
  commit_copies();
  if (steps.begin < steps.end)
    copy_keys_and_values<Shape>(shared, launch, work, steps.begin, steps.begin);
  commit_copies();
  QueryFragments<Shape> queries;
  if (Shape::QUERY_IN_REGISTERS) load_queries<Shape>(queries, shared);
  Rows<Shape> rows;
  clear<Shape>(rows);
  for (int step = steps.begin; step < steps.end; step++) {
    wait_for_copies<0>();
    block_barrier();
    if (step + 1 < steps.end)
      copy_keys_and_values<Shape>(shared, launch, work, step + 1, steps.begin);
    commit_copies();
    const int first_key = step * Shape::KEYS;
    if (first_key >= sight.visible_to_any) continue;  // hidden from this warp by the causal mask
    const uint16_t* stage = shared + (step - steps.begin) % 2 * Shape::STAGE;
    attend_step<Shape>(rows, queries, launch.call, work, sight, shared, stage, first_key);
  }
  wait_for_copies<0>();
  float inverse[2];
  finish_sums<Shape>(rows, inverse);
  if (Shape::SPLIT && launch.splits > 1)
    store_part<Shape>(launch, work, rows, sight.row, sight.column, inverse);
  else
    store_output<Shape>(launch.call, work, rows, sight.row, sight.column, inverse);
}
