// The C interface: checks, the choice of a kernel, its launch.
#include "attention.h"

#include "plan.h"

#ifdef MMEDGE_EMULATION
#include "emulation/buffers.h"
#endif

namespace {

const char* launch_kernel(Kernel kernel, int64_t blocks, int threads, size_t shared_bytes,
                          void* stream, const Launch& argument) {
  if (blocks > plan::MOST_BLOCKS)
    return checks::refuse("%lld blocks are more than a grid holds", static_cast<long long>(blocks));
  const char* wrong = launch(kernel, blocks, threads, shared_bytes, stream, argument);
  return wrong ? checks::refuse("the launch failed: %s", wrong) : nullptr;
}

const char* launch_variant(const Instance& instance, const Variant& variant,
                           const MmedgeAttention& call, void* stream) {
  Launch argument;
  argument.call = call;
  const int64_t splits = plan::count_splits(variant, call, multiprocessors());
  argument.splits = static_cast<int32_t>(splits);
  argument.row_tiles = static_cast<int32_t>(plan::count_row_tiles(variant, call));
  if (splits > 1) {
    const char* wrong = checks::check_aligned("workspace", call.workspace, checks::ALIGNMENT_BYTES);
    if (wrong) return wrong;
  }
  const Kernel kernel = call.bias ? variant.with_bias : variant.without_bias;
  const char* wrong = launch_kernel(kernel, plan::count_blocks(variant, call) * splits,
                                    variant.threads, variant.shared_bytes, stream, argument);
  if (wrong || splits == 1) return wrong;
  const int64_t rows = static_cast<int64_t>(call.batch) * call.num_heads * call.max_query_length;
  return launch_kernel(instance.merge, plan::divide_up(rows, MERGE_ROWS), MERGE_THREADS, 0, stream,
                       argument);
}

}  // namespace

extern "C" MMEDGE_API const char* mmedge_attention(const MmedgeAttention* call, void* stream) {
  if (!call) return "no call was given";
  const char* wrong = checks::check_call(*call);
  if (wrong) return wrong;
  const Instance* instance = find_instance(*call);
  if (!instance)
    return checks::refuse("this library has no kernel for head size %d and dtype %d",
                          call->head_size, call->dtype);
  if (call->batch == 0 || call->max_query_length == 0) return nullptr;  // nothing to compute
  const Variant* variant = plan::find_tactic(*instance, *call);
  if (!variant)
    return checks::refuse("tactic %d is not below the %d tactics of this call", call->tactic,
                          plan::count_tactics(*instance, *call));
#ifdef MMEDGE_EMULATION
  emulation::declare_buffers(*call, plan::bound_workspace(*instance, *call));
#endif
  return launch_variant(*instance, *variant, *call, stream);
}

extern "C" MMEDGE_API size_t mmedge_attention_workspace(const MmedgeAttention* call) {
  if (!call || checks::check_counts(*call)) return 0;
  const Instance* instance = find_instance(*call);
  return instance ? static_cast<size_t>(plan::bound_workspace(*instance, *call)) : 0;
}

extern "C" MMEDGE_API int mmedge_attention_tactics(const MmedgeAttention* call) {
  if (!call || checks::check_counts(*call)) return 0;
  const Instance* instance = find_instance(*call);
  return instance ? plan::count_tactics(*instance, *call) : 0;
}
