// fp16 and bf16 on the host, and the warp's matrix product in fp32.
#pragma once

#include <math.h>
#include <string.h>

#include "block.h"

namespace emulation {

inline uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

// To the nearest, ties to even. By hand, as not every C++ compiler has _Float16.
inline uint16_t round_to_fp16(float value) {
  const uint32_t bits = bits_of(value);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const float magnitude = fabsf(value);
  if (value != value) return 0x7fff;
  if (magnitude >= 65520.0f) return sign | 0x7c00;  // half way from the greatest to the next
  if (magnitude < 0x1p-14f)  // subnormal: a multiple of 2^-24
    return sign | static_cast<uint16_t>(nearbyintf(magnitude * 0x1p24f));
  constexpr uint32_t EXPONENT_BIASES = (127 - 15) << 10;
  const uint32_t rounded = (bits & 0x7fffffff) + 0xfff + (bits >> 13 & 1);
  return sign | static_cast<uint16_t>((rounded >> 13) - EXPONENT_BIASES);
}

inline float widen_fp16(uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const int fraction = bits & 0x3ff;
  const float sign = bits & 0x8000 ? -1.0f : 1.0f;
  if (exponent == 31) return fraction ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * ldexpf(static_cast<float>(fraction), -24);
  return sign * ldexpf(static_cast<float>(fraction + 0x400), exponent - 25);
}

inline uint16_t round_to_bf16(float value) {
  const uint32_t bits = bits_of(value);
  if (value != value) return 0x7fff;
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);  // to nearest, even
}

// All 65536 numbers of fp16, as a conversion per use would take most of the emulation's time.
inline const float* fp16_values() {
  static const std::vector<float> values = [] {
    std::vector<float> all(1 << 16);
    for (uint32_t bits = 0; bits < all.size(); bits++)
      all[bits] = widen_fp16(static_cast<uint16_t>(bits));
    return all;
  }();
  return values.data();
}

inline const float* const FP16_VALUES = fp16_values();

struct MatrixOperands {
  float* sum;
  const uint32_t* a;
  uint32_t b[2];
};

// Where each thread's registers belong: PTX ISA, "Matrix Fragments for mma.m16n8k16".
template <class Number>
inline void multiply_fragments(const Warp& warp) {
  float a[16][16], b[16][8], product[16][8] = {};
  auto low = [](uint32_t pair) { return Number::unpack(static_cast<uint16_t>(pair)); };
  auto high = [](uint32_t pair) { return Number::unpack(static_cast<uint16_t>(pair >> 16)); };
  for (int lane = 0; lane < WARP; lane++) {
    const auto* own = static_cast<const MatrixOperands*>(warp.given[lane]);
    const int group = lane / 4, pair = lane % 4 * 2;
    for (int i = 0; i < 4; i++) {
      const int row = group + i % 2 * 8, column = pair + i / 2 * 8;
      a[row][column] = low(own->a[i]);
      a[row][column + 1] = high(own->a[i]);
    }
    for (int i = 0; i < 2; i++) {
      b[pair + i * 8][group] = low(own->b[i]);
      b[pair + i * 8 + 1][group] = high(own->b[i]);
    }
  }
  for (int row = 0; row < 16; row++)
    for (int k = 0; k < 16; k++)
      for (int column = 0; column < 8; column++) product[row][column] += a[row][k] * b[k][column];
  for (int lane = 0; lane < WARP; lane++) {
    const auto* own = static_cast<const MatrixOperands*>(warp.given[lane]);
    const int group = lane / 4, pair = lane % 4 * 2;
    for (int i = 0; i < 4; i++) own->sum[i] += product[group + i / 2 * 8][pair + i % 2];
  }
}

template <class Number>
struct NumberFormat {
  static uint32_t pack(float low, float high) {
    return Number::round(low) | static_cast<uint32_t>(Number::round(high)) << 16;
  }
  static void mma(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    const MatrixOperands own{sum, a, {b0, b1}};
    together("mma", &own, nullptr, multiply_fragments<Number>);
  }
};

struct Fp16 : NumberFormat<Fp16> {
  static float unpack(uint16_t bits) { return FP16_VALUES[bits]; }
  static uint16_t round(float value) { return round_to_fp16(value); }
};

struct Bf16 : NumberFormat<Bf16> {
  static float unpack(uint16_t bits) {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
  }
  static uint16_t round(float value) { return round_to_bf16(value); }
};

}  // namespace emulation
