// Tiles on their way: global memory to shared memory, and shared memory to mma fragments.
#pragma once

#include "work.cuh"

// Begins to copy `ROWS` rows. Rows from `end` on and columns from `head_size` on become zeros.
// `locate` gives the offset of a row in elements.
template <class Shape, int ROWS, class Locate>
DEVICE void copy_rows(uint16_t* shared, const uint16_t* global, int first, int end, int head_size,
                      const Locate& locate) {
  constexpr int CHUNK = 8;  // elements in the 16 bytes of one copy
  constexpr int CHUNKS = Shape::HEAD / CHUNK;
  UNROLL_BY_2  // all of them at once would keep an address each in registers
  for (int i = 0; i < ROWS * CHUNKS; i += Shape::THREADS) {
    const int place = i + thread_index();
    if (ROWS * CHUNKS % Shape::THREADS != 0 && place >= ROWS * CHUNKS) break;
    const int row = place / CHUNKS;
    const int column = place % CHUNKS * CHUNK;
    const bool valid = first + row < end && column < head_size;
    const uint16_t* from = valid ? global + locate(first + row) + column : global;
    copy_async(shared + row * Shape::PITCH + column, from, valid);
  }
}

template <class Shape>
DEVICE void copy_queries(uint16_t* shared, const Launch& launch, const Work& work) {
  const int64_t* strides = launch.call.query_strides;
  copy_rows<Shape, Shape::ROWS>(
      shared + Shape::QUERY_AT, work.query, work.first_row, work.row_end, launch.call.head_size,
      [&](int row) { return offset_of(find_row<Shape>(work, row), strides); });
}

// The keys and values of step `step`, of a walk that began at step `begin` with the first stage.
template <class Shape>
DEVICE void copy_keys_and_values(uint16_t* shared, const Launch& launch, const Work& work, int step,
                                 int begin) {
  uint16_t* stage = shared + (step - begin) % 2 * Shape::STAGE;
  const int64_t key_stride = launch.call.key_strides[1];
  const int64_t value_stride = launch.call.value_strides[1];
  const int head_size = launch.call.head_size;
  const int first = step * Shape::KEYS;
  copy_rows<Shape, Shape::KEYS>(stage, work.key, first, work.keys, head_size,
                                [=](int row) { return row * key_stride; });
  copy_rows<Shape, Shape::KEYS>(stage + Shape::KEYS * Shape::PITCH, work.value, first, work.keys,
                                head_size, [=](int row) { return row * value_stride; });
}

DEVICE int lane_index() { return thread_index() % 32; }
DEVICE int warp_index() { return thread_index() / 32; }

// Operand A of 16 query rows and 16 columns.
template <class Shape>
DEVICE void load_query_fragment(uint32_t (&out)[4], const uint16_t* shared, int column) {
  const int lane = lane_index();
  const int row = warp_index() * 16 + lane % 16;
  load_matrices(out, shared + Shape::QUERY_AT + row * Shape::PITCH + column + lane / 16 * 8);
}

// Operand B of 16 keys and 16 columns: out[0..1] of the first 8 keys, out[2..3] of the others.
template <class Shape>
DEVICE void load_key_fragment(uint32_t (&out)[4], const uint16_t* keys, int key, int column) {
  const int lane = lane_index();
  const int row = key + lane % 8 + lane / 16 * 8;
  load_matrices(out, keys + row * Shape::PITCH + column + lane / 8 % 2 * 8);
}

// Operand B of 16 keys and 16 value columns: out[0..1] of the first 8 columns.
template <class Shape>
DEVICE void load_value_fragment(uint32_t (&out)[4], const uint16_t* values, int key, int column) {
  const int lane = lane_index();
  const int row = key + lane % 16;
  load_matrices_transposed(out, values + row * Shape::PITCH + column + lane / 16 * 8);
}
