// Shared memory that is poisoned, bounds-checked, and watched for races.
//
// Every 16 bytes remember who wrote and read them last, and in which epoch: an epoch ends when the
// whole block passes a barrier. Two accesses of two threads in one epoch, one of them a write, have
// no order, so they are refused whatever the schedule made of them. That a warp runs in step orders
// nothing (CUDA programming guide, "Independent Thread Scheduling"). An asynchronous copy is a
// write from its issue until its thread has waited for it: nobody may touch its bytes before.
#pragma once

#include <string.h>

#include "block.h"

namespace emulation {

constexpr size_t GRANULE_BYTES = 16;
constexpr int NOBODY = -1;
constexpr int SEVERAL = -2;
constexpr int POISON = 0xff;  // NaN in both number formats

struct Granule {
  uint32_t write_epoch = 0, read_epoch = 0;
  int writer = NOBODY, reader = NOBODY;
  bool on_its_way = false;
};

class SharedMemory {
 public:
  void prepare(size_t bytes) {
    bytes_ = bytes;
    words_.resize(bytes / sizeof(uint64_t) + 2);
    memset(words_.data(), POISON, words_.size() * sizeof(uint64_t));
    granules_.assign(bytes / GRANULE_BYTES, Granule());
  }

  uint16_t* begin() {
    uintptr_t address = reinterpret_cast<uintptr_t>(words_.data());
    return reinterpret_cast<uint16_t*>((address + 15) & ~uintptr_t{15});
  }

  // Returns where the 16 bytes are, in bytes from the start.
  size_t check_place(const uint16_t* place, const char* what) {
    const ptrdiff_t offset =
        reinterpret_cast<const char*>(place) - reinterpret_cast<const char*>(begin());
    if (offset < 0 || offset + GRANULE_BYTES > bytes_)
      fail("%s at byte %lld is outside of the %zu bytes of shared memory", what,
           static_cast<long long>(offset), bytes_);
    if (offset % GRANULE_BYTES) fail("%s at byte %zd is not aligned to 16", what, offset);
    return static_cast<size_t>(offset);
  }

  void read(const uint16_t* place, int thread) {
    Granule& granule = granule_of(place, "a read");
    refuse_on_its_way(granule, thread, "reads");
    if (granule.writer == NOBODY) fail("thread %d reads shared memory nobody wrote", thread);
    if (granule.write_epoch == block.epoch && granule.writer != thread)
      fail("race: thread %d reads shared byte %zu that thread %d wrote since the last barrier",
           thread, offset_of(place), granule.writer);
    const bool already_read = granule.read_epoch == block.epoch;
    granule.reader = already_read && granule.reader != thread ? SEVERAL : thread;
    granule.read_epoch = block.epoch;
  }

  void begin_copy(uint16_t* place, int thread) {
    Granule& granule = granule_of(place, "an asynchronous copy");
    refuse_on_its_way(granule, thread, "overwrites");
    if (granule.write_epoch == block.epoch && granule.writer != thread)
      fail("race: threads %d and %d write shared byte %zu with no barrier between", granule.writer,
           thread, offset_of(place));
    if (granule.read_epoch == block.epoch && granule.reader != thread)
      fail("race: thread %d overwrites shared byte %zu that %s read since the last barrier", thread,
           offset_of(place), granule.reader == SEVERAL ? "several threads" : "another thread");
    note_write(granule, thread);
    granule.on_its_way = true;
    memset(place, POISON, GRANULE_BYTES);
  }

  void end_copy(uint16_t* place, const void* source, int thread) {
    Granule& granule = granules_[offset_of(place) / GRANULE_BYTES];
    note_write(granule, thread);
    granule.on_its_way = false;
    if (source) memcpy(place, source, GRANULE_BYTES);
    else memset(place, 0, GRANULE_BYTES);
  }

 private:
  Granule& granule_of(const uint16_t* place, const char* what) {
    return granules_[check_place(place, what) / GRANULE_BYTES];
  }
  size_t offset_of(const uint16_t* place) {
    return reinterpret_cast<const char*>(place) - reinterpret_cast<const char*>(begin());
  }
  static void note_write(Granule& granule, int thread) {
    granule.write_epoch = block.epoch;
    granule.writer = thread;
  }
  static void refuse_on_its_way(const Granule& granule, int thread, const char* verb) {
    if (granule.on_its_way)
      fail("thread %d %s shared memory before thread %d waited for its copy into it", thread, verb,
           granule.writer);
  }

  size_t bytes_ = 0;
  std::vector<uint64_t> words_;
  std::vector<Granule> granules_;
};

inline SharedMemory shared;

}  // namespace emulation
