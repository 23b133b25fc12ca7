// What the plugin has to say goes to the logger of the process that loaded it.
#pragma once

#include <stdarg.h>
#include <stdio.h>

#include "NvInferRuntime.h"

namespace mmedge {

inline nvinfer1::ILoggerFinder*& logger_finder() {
  static nvinfer1::ILoggerFinder* finder = nullptr;
  return finder;
}

inline void log_error(const char* format, ...) noexcept {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  const int head = snprintf(text, sizeof text, "mmedge::FusedAttention: ");
  vsnprintf(text + head, sizeof text - head, format, arguments);
  va_end(arguments);
  nvinfer1::ILogger* logger = logger_finder() ? logger_finder()->findLogger() : nullptr;
  if (logger)
    logger->log(nvinfer1::ILogger::Severity::kERROR, text);
  else
    fprintf(stderr, "%s\n", text);
}

}  // namespace mmedge
