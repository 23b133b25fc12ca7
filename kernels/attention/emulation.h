// The host's twin of device.cuh: the same names, run by the emulation in emulation/.
// Compiled instead of it where MMEDGE_EMULATION is defined, with a plain C++17 compiler.
#pragma once

#include "emulation/instructions.h"
#include "emulation/launch.h"

#define DEVICE inline
#define KERNEL(threads, blocks) inline void
#define UNROLL
#define UNROLL_BY_2
#define SHARED_MEMORY(name) uint16_t* const name = emulation::shared.begin()

using emulation::Bf16;
using emulation::Fp16;
using emulation::block_barrier;
using emulation::block_index;
using emulation::commit_copies;
using emulation::copy_async;
using emulation::exp2_fast;
using emulation::launch;
using emulation::load_global;
using emulation::load_matrices;
using emulation::load_matrices_transposed;
using emulation::log2_fast;
using emulation::multiprocessors;
using emulation::shuffle_xor;
using emulation::store_global;
using emulation::thread_index;
using emulation::wait_for_copies;
