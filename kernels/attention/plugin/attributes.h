// The op's attributes: fields of the plugin in the ONNX node, and in the engine.
#pragma once

#include <stdio.h>
#include <string.h>

#include <cmath>

#include "NvInferRuntime.h"

namespace mmedge {

constexpr char PLUGIN_NAME[] = "FusedAttention";
constexpr char PLUGIN_NAMESPACE[] = "mmedge";
constexpr char PLUGIN_VERSION[] = "1";

enum LengthMode : int32_t { NO_LENGTHS = 0, KEY_LENGTHS = 1, CUMULATIVE_LENGTHS = 2 };

struct Attributes {
  int32_t num_heads = 0;
  int32_t kv_num_heads = 0;
  float scale = 0.0f;
  int32_t causal = 0;
  int32_t has_bias = 0;
  int32_t len_mode = NO_LENGTHS;

  // The fields in the order in which they are serialized; they point into this object.
  static constexpr int32_t COUNT = 6;
  void describe(nvinfer1::PluginField (&fields)[COUNT]) const {
    using nvinfer1::PluginFieldType;
    fields[0] = {"num_heads", &num_heads, PluginFieldType::kINT32, 1};
    fields[1] = {"kv_num_heads", &kv_num_heads, PluginFieldType::kINT32, 1};
    fields[2] = {"scale", &scale, PluginFieldType::kFLOAT32, 1};
    fields[3] = {"causal", &causal, PluginFieldType::kINT32, 1};
    fields[4] = {"has_bias", &has_bias, PluginFieldType::kINT32, 1};
    fields[5] = {"len_mode", &len_mode, PluginFieldType::kINT32, 1};
  }

  // Takes one field; false where it is none of the attributes or of another type.
  bool take(const nvinfer1::PluginField& field) {
    nvinfer1::PluginField known[COUNT];
    describe(known);
    for (const nvinfer1::PluginField& mine : known) {
      if (!field.name || strcmp(mine.name, field.name) != 0) continue;
      if (field.type != mine.type || field.length != 1 || !field.data) return false;
      memcpy(const_cast<void*>(mine.data), field.data, sizeof(int32_t));  // floats are as long
      return true;
    }
    return false;
  }

  int32_t lengths_at() const { return 3 + has_bias; }  // after query, key, value and bias
  int32_t inputs() const { return lengths_at() + len_mode; }

  // Writes what is wrong, if anything is.
  bool check(char* text, size_t size) const {
    if (num_heads < 1 || kv_num_heads < 1 || num_heads % kv_num_heads)
      snprintf(text, size, "num_heads %d is no multiple of kv_num_heads %d", num_heads,
               kv_num_heads);
    else if (!(scale > 0.0f) || std::isinf(scale))
      snprintf(text, size, "scale %g is not a positive, finite number", scale);
    else if (causal < 0 || causal > 2)
      snprintf(text, size, "causal %d is not 0, 1 or 2", causal);
    else if (has_bias < 0 || has_bias > 1)
      snprintf(text, size, "has_bias %d is not 0 or 1", has_bias);
    else if (len_mode < NO_LENGTHS || len_mode > CUMULATIVE_LENGTHS)
      snprintf(text, size, "len_mode %d is not 0, 1 or 2", len_mode);
    else if (has_bias && len_mode == CUMULATIVE_LENGTHS)
      snprintf(text, size, "packed rows (len_mode 2) take no bias");
    else
      return true;
    return false;
  }
};

}  // namespace mmedge
