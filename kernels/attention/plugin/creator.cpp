// The plugin's creator, and the two functions that IPluginRegistry::loadLibrary looks for.
#include <new>

#include "attention_plugin.h"

namespace mmedge {
namespace {

class AttentionCreator : public nvinfer1::IPluginCreatorV3One {
 public:
  AttentionCreator() {
    attributes_.describe(fields_);
    for (nvinfer1::PluginField& field : fields_) field.data = nullptr;  // names and types alone
    collection_.nbFields = Attributes::COUNT;
    collection_.fields = fields_;
  }

  const char* getPluginName() const noexcept override { return PLUGIN_NAME; }
  const char* getPluginVersion() const noexcept override { return PLUGIN_VERSION; }
  const char* getPluginNamespace() const noexcept override { return PLUGIN_NAMESPACE; }
  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override { return &collection_; }

  nvinfer1::IPluginV3* createPlugin(const char*, const nvinfer1::PluginFieldCollection* given,
                                    nvinfer1::TensorRTPhase) noexcept override {
    Attributes attributes;
    for (int32_t i = 0; given && i < given->nbFields; i++) {
      const nvinfer1::PluginField& field = given->fields[i];
      if (attributes.take(field) || is_about_the_plugin(field.name)) continue;
      log_error("%s is no attribute of the op, or has another type", field.name);
      return nullptr;
    }
    char text[256];
    if (attributes.check(text, sizeof text)) return new (std::nothrow) AttentionPlugin(attributes);
    log_error("%s", text);
    return nullptr;
  }

 private:
  // A parser may hand on the attributes by which it found the plugin.
  static bool is_about_the_plugin(const char* name) {
    return name && strncmp(name, "plugin_", strlen("plugin_")) == 0;
  }

  Attributes attributes_;
  nvinfer1::PluginField fields_[Attributes::COUNT] = {};
  nvinfer1::PluginFieldCollection collection_ = {};
};

}  // namespace
}  // namespace mmedge

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED void setLoggerFinder(nvinfer1::ILoggerFinder* finder) {
  mmedge::logger_finder() = finder;
}

EXPORTED nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
  static mmedge::AttentionCreator creator;
  static nvinfer1::IPluginCreatorInterface* const creators[] = {&creator};
  count = 1;
  return creators;
}
