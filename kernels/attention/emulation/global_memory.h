// Global memory: the buffers of a launch are declared, and nothing outside of them is touched.
// A byte is written at most once in a launch and never read in the launch that wrote it: no kernel
// here needs either, and both are what an overlap of two blocks looks like.
#pragma once

#include <string.h>

#include "block.h"

namespace emulation {

struct Buffer {
  const char* name;
  const char* begin;
  size_t bytes;
  bool writable;
  std::vector<bool> written;
};

class GlobalMemory {
 public:
  void forget() { buffers_.clear(); }

  void declare(const char* name, const void* begin, size_t bytes, bool writable) {
    if (begin) buffers_.push_back({name, static_cast<const char*>(begin), bytes, writable, {}});
  }

  void begin_launch() {
    for (Buffer& buffer : buffers_)
      buffer.written.assign(buffer.writable ? buffer.bytes : 0, false);
  }

  void check_read(const void* from, size_t bytes) {
    Buffer& buffer = find(from, bytes, "reads");
    const size_t offset = static_cast<const char*>(from) - buffer.begin;
    if (buffer.writable && buffer.written[offset])
      fail("reads %s at byte %zu, which this launch wrote", buffer.name, offset);
  }

  void check_write(const void* to, size_t bytes) {
    Buffer& buffer = find(to, bytes, "writes");
    const size_t offset = static_cast<const char*>(to) - buffer.begin;
    if (!buffer.writable) fail("writes to %s", buffer.name);
    for (size_t i = offset; i < offset + bytes; i++) {
      if (buffer.written[i]) fail("writes %s at byte %zu twice", buffer.name, i);
      buffer.written[i] = true;
    }
  }

 private:
  Buffer& find(const void* place, size_t bytes, const char* verb) {
    if (reinterpret_cast<uintptr_t>(place) % bytes)
      fail("%s %zu bytes at an address that is not a multiple of them", verb, bytes);
    const char* first = static_cast<const char*>(place);
    for (Buffer& buffer : buffers_)
      if (first >= buffer.begin && first + bytes <= buffer.begin + buffer.bytes) return buffer;
    fail("%s %zu bytes outside of every buffer", verb, bytes);
  }

  std::vector<Buffer> buffers_;
};

inline GlobalMemory global;

}  // namespace emulation
