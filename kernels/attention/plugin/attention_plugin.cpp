#include "attention_plugin.h"

#include <new>

namespace mmedge {

using nvinfer1::DataType;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginTensorDesc;

namespace {

constexpr int32_t FAILED = 1;

}  // namespace

nvinfer1::IPluginCapability* AttentionPlugin::getCapabilityInterface(
    nvinfer1::PluginCapabilityType type) noexcept {
  switch (type) {
    case nvinfer1::PluginCapabilityType::kCORE:
      return static_cast<nvinfer1::IPluginV3OneCore*>(this);
    case nvinfer1::PluginCapabilityType::kBUILD:
      return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
    case nvinfer1::PluginCapabilityType::kRUNTIME:
      return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
  }
  return nullptr;
}

nvinfer1::IPluginV3* AttentionPlugin::clone() noexcept {
  AttentionPlugin* copy = new (std::nothrow) AttentionPlugin(attributes_);
  if (!copy) return nullptr;
  copy->tactic_count_ = tactic_count_;
  copy->tactic_ = tactic_;
  return copy;
}

int32_t AttentionPlugin::getOutputDataTypes(DataType* outputs, int32_t output_count,
                                            const DataType* inputs,
                                            int32_t input_count) const noexcept {
  if (output_count != 1 || input_count != attributes_.inputs()) {
    log_error("%d inputs, its attributes say %d", input_count, attributes_.inputs());
    return FAILED;
  }
  outputs[0] = inputs[0];
  return 0;
}

int32_t AttentionPlugin::getOutputShapes(const nvinfer1::DimsExprs* inputs, int32_t input_count,
                                         const nvinfer1::DimsExprs*, int32_t,
                                         nvinfer1::DimsExprs* outputs, int32_t output_count,
                                         nvinfer1::IExprBuilder&) noexcept {
  if (output_count != 1 || input_count != attributes_.inputs()) return FAILED;
  outputs[0] = inputs[0];
  return 0;
}

bool AttentionPlugin::supportsFormatCombination(int32_t position,
                                                const DynamicPluginTensorDesc* all,
                                                int32_t input_count,
                                                int32_t output_count) noexcept {
  if (input_count != attributes_.inputs() || output_count != 1) return false;
  const PluginTensorDesc& asked = all[position].desc;
  if (asked.format != nvinfer1::TensorFormat::kLINEAR) return false;
  if (position == 0) return asked.type == DataType::kHALF || asked.type == DataType::kBF16;
  const bool is_length = position >= attributes_.lengths_at() && position < input_count;
  return asked.type == (is_length ? DataType::kINT32 : all[0].desc.type);
}

// The call with the largest shapes of the profile: it needs the most of everything.
bool AttentionPlugin::largest_call(MmedgeAttention& call, const DynamicPluginTensorDesc* inputs,
                                   int32_t input_count) const noexcept {
  if (input_count != attributes_.inputs()) return false;
  const nvinfer1::Dims* dims[MOST_INPUTS];
  for (int32_t i = 0; i < input_count; i++) dims[i] = &inputs[i].max;
  return make_call(call, attributes_, dims, inputs[0].desc.type);
}

int32_t AttentionPlugin::configurePlugin(const DynamicPluginTensorDesc* inputs,
                                         int32_t input_count, const DynamicPluginTensorDesc*,
                                         int32_t) noexcept {
  MmedgeAttention call;
  if (!largest_call(call, inputs, input_count)) {
    log_error("the shapes of its inputs are not those of the op");
    return FAILED;
  }
  const int32_t tiles = mmedge_attention_tactics(&call);
  if (tiles < 1) {
    log_error("this library has no kernel for head size %d", call.head_size);
    return FAILED;
  }
  tactic_count_ = tiles + TABLES_CHOICE;
  return 0;
}

size_t AttentionPlugin::getWorkspaceSize(const DynamicPluginTensorDesc* inputs,
                                         int32_t input_count, const DynamicPluginTensorDesc*,
                                         int32_t) const noexcept {
  MmedgeAttention call;
  return largest_call(call, inputs, input_count) ? mmedge_attention_workspace(&call) : 0;
}

int32_t AttentionPlugin::getValidTactics(int32_t* tactics, int32_t count) noexcept {
  for (int32_t i = 0; i < count; i++) tactics[i] = TABLES_CHOICE + i;
  return 0;
}

int32_t AttentionPlugin::setTactic(int32_t tactic) noexcept {
  tactic_ = tactic;
  return 0;
}

int32_t AttentionPlugin::onShapeChange(const PluginTensorDesc*, int32_t input_count,
                                       const PluginTensorDesc*, int32_t) noexcept {
  return input_count == attributes_.inputs() ? 0 : FAILED;
}

int32_t AttentionPlugin::enqueue(const PluginTensorDesc* input_descriptions,
                                 const PluginTensorDesc*, const void* const* inputs,
                                 void* const* outputs, void* workspace,
                                 cudaStream_t stream) noexcept {
  const nvinfer1::Dims* dims[MOST_INPUTS];
  for (int32_t i = 0; i < attributes_.inputs(); i++) dims[i] = &input_descriptions[i].dims;
  MmedgeAttention call;
  if (!make_call(call, attributes_, dims, input_descriptions[0].type)) {
    log_error("the shapes of its inputs are not those of the op");
    return FAILED;
  }
  set_pointers(call, attributes_, inputs, outputs[0], workspace);
  call.tactic = tile_of(tactic_);
  const char* wrong = mmedge_attention(&call, stream);
  if (!wrong) return 0;
  log_error("%s", wrong);
  return FAILED;
}

const nvinfer1::PluginFieldCollection* AttentionPlugin::getFieldsToSerialize() noexcept {
  attributes_.describe(fields_);
  collection_.nbFields = Attributes::COUNT;
  collection_.fields = fields_;
  return &collection_;
}

}  // namespace mmedge
