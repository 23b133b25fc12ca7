// What is in the library, told to whoever builds it: the shared memory that a kernel asks for at
// its launch is in no compiler's report.
#include <string>

#include "attention.h"
#include "variants.cuh"

// A line for each variant: dtype, padded head size, split (0 or 1), query rows, keys in one step,
// threads and bytes of shared memory of a block. Needs no GPU.
extern "C" MMEDGE_API const char* mmedge_attention_variants() {
  static const std::string lines = [] {
    std::string text;
    for (const Instance* instance = first_instance(); instance; instance = instance->next)
      for (int i = 0; i < instance->count; i++) {
        const Variant& variant = instance->variants[i];
        const long long numbers[] = {instance->dtype,
                                     instance->padded_head_size,
                                     variant.split,
                                     variant.rows,
                                     variant.keys,
                                     variant.threads,
                                     static_cast<long long>(variant.shared_bytes)};
        for (long long number : numbers) text += std::to_string(number) + " ";
        text.back() = '\n';
      }
    return text;
  }();
  return lines.c_str();
}
