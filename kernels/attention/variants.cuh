// The kernels that are linked into the library, as instance.cuh registers them.
#pragma once

#include "decode.cuh"

using Kernel = void (*)(Launch);

struct Variant {
  bool split;
  int rows, keys, threads;
  size_t shared_bytes;
  Kernel without_bias, with_bias;
};

// All variants of one dtype and one padded head size, in the order in which the table prefers them.
struct Instance {
  int dtype, padded_head_size;
  const Variant* variants;
  int count;
  Kernel merge;
  const Instance* next;
};

inline const Instance*& first_instance() {
  static const Instance* first = nullptr;
  return first;
}

// A static object of this type in each translation unit: what is linked is what there is.
struct Registration {
  explicit Registration(Instance& instance) {
    instance.next = first_instance();
    first_instance() = &instance;
  }
};

inline int padded_head_size(int head_size) { return (head_size + 15) / 16 * 16; }

inline const Instance* find_instance(const MmedgeAttention& call) {
  for (const Instance* at = first_instance(); at; at = at->next)
    if (at->dtype == call.dtype && at->padded_head_size == padded_head_size(call.head_size))
      return at;
  return nullptr;
}
