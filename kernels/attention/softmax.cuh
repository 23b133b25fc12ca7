// The online softmax of FlashAttention-2 (Dao 2023, arXiv 2307.08691, algorithm 1): every row keeps
// its greatest score so far and the sum of its exponentials, and rescales when the greatest grows.
#pragma once

#include <math.h>

#include "tile.cuh"

constexpr float LOG2_E = 1.4426950408889634f;

// What a thread holds of its warp's 16 rows: row lane / 4 in [0] and that plus 8 in [1]; of every 8
// columns the two at lane % 4 * 2 (PTX ISA, "Matrix Fragments for mma.m16n8k16").
template <class Shape>
struct Rows {
  float output[Shape::HEAD / 8][4];
  float greatest[2];
  float sum[2];  // of this thread's columns only, until finish_sums
};

// Exponentials are powers of 2. A bias is added to scaled scores; without one, the scale is left to
// the exponent, where it is free.
template <class Shape>
DEVICE float exponent_scale(const MmedgeAttention& call) {
  return Shape::BIAS ? LOG2_E : call.scale * LOG2_E;
}

template <class Shape>
DEVICE void clear(Rows<Shape>& rows) {
  UNROLL
  for (int i = 0; i < Shape::HEAD / 8; i++) {
    UNROLL
    for (int j = 0; j < 4; j++) rows.output[i][j] = 0.0f;
  }
  UNROLL
  for (int half = 0; half < 2; half++) {
    rows.greatest[half] = -INFINITY;
    rows.sum[half] = 0.0f;
  }
}

// The four threads of a row agree.
DEVICE float greatest_of_row(float value) {
  value = fmaxf(value, shuffle_xor(value, 1));
  return fmaxf(value, shuffle_xor(value, 2));
}

DEVICE float sum_of_row(float value) {
  value += shuffle_xor(value, 1);
  return value + shuffle_xor(value, 2);
}

// Turns scores into weights, exp2(scale * (score - greatest)), and brings what the rows hold to the
// new greatest score. The scale is positive.
template <class Shape>
DEVICE void exponentiate(float (&scores)[Shape::KEYS / 8][4], Rows<Shape>& rows, float scale) {
  UNROLL
  for (int half = 0; half < 2; half++) {
    float greatest = rows.greatest[half];
    UNROLL
    for (int j = 0; j < Shape::KEYS / 8; j++)
      greatest = fmaxf(greatest, fmaxf(scores[j][2 * half], scores[j][2 * half + 1]));
    greatest = greatest_of_row(greatest);
    // A row that has seen no key yet: (-inf) - (-inf) would be NaN.
    const float shift = greatest == -INFINITY ? 0.0f : greatest * scale;
    const float rescale = exp2_fast(rows.greatest[half] * scale - shift);
    rows.greatest[half] = greatest;
    float sum = 0.0f;
    UNROLL
    for (int j = 0; j < Shape::KEYS / 8; j++) {
      UNROLL
      for (int i = 2 * half; i < 2 * half + 2; i++) {
        scores[j][i] = exp2_fast(scores[j][i] * scale - shift);
        sum += scores[j][i];
      }
    }
    rows.sum[half] = rows.sum[half] * rescale + sum;
    UNROLL
    for (int i = 0; i < Shape::HEAD / 8; i++) {
      rows.output[i][2 * half] *= rescale;
      rows.output[i][2 * half + 1] *= rescale;
    }
  }
}

// Sums over the whole row, then 1 / sum; 0 for a row that saw nothing, NaN where a score was NaN.
template <class Shape>
DEVICE void finish_sums(Rows<Shape>& rows, float (&inverse)[2]) {
  UNROLL
  for (int half = 0; half < 2; half++) {
    rows.sum[half] = sum_of_row(rows.sum[half]);
    inverse[half] = rows.sum[half] == 0.0f ? 0.0f : 1.0f / rows.sum[half];
  }
}
