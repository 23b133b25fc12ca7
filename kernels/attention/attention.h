/* The C interface of the fused-attention kernels: one struct in, NULL or a sentence out.
 *
 * It needs no CUDA header, so that the TensorRT plugin, ctypes and the host emulation share it.
 *
 * output[b, i, h] = softmax over the visible j of (scale * q.k + bias) * value[b, j, h / group]
 *
 * Key j is visible to query i of its row of the batch when j < keys and, where causal is
 *   0 (none): always;  1 (upper-left): j <= i;  2 (lower-right): j <= i + keys - queries.
 * `keys` is key_lengths[b] (held to 0..max_key_length), the packed length, or max_key_length;
 * `queries` is the packed length or max_query_length. What is past `keys` is never read, and a
 * query that sees no key gives 0. NaN and infinities that a query sees reach its result as they do
 * in softmax(...) @ value.
 * A value that `causal` hides is multiplied by 0, so an infinity in it may or may not give NaN.
 */
#ifndef MMEDGE_ATTENTION_H
#define MMEDGE_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define MMEDGE_API __declspec(dllexport)
#else
#define MMEDGE_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum { MMEDGE_FP16 = 0, MMEDGE_BF16 = 1 };
enum { MMEDGE_CAUSAL_NONE = 0, MMEDGE_CAUSAL_UPPER_LEFT = 1, MMEDGE_CAUSAL_LOWER_RIGHT = 2 };

typedef struct MmedgeAttention {
  const void *query, *key, *value, *bias; /* bias: NULL for none; of the queries' dtype */
  void *output, *workspace;
  const int32_t *key_lengths;              /* [batch] or NULL */
  const int32_t *cumulative_query_lengths; /* [batch + 1] or NULL: packed rows */
  const int32_t *cumulative_key_lengths;   /* [batch + 1] or NULL, together with the above */
  /* In elements: batch, row, head. The batch's is not used for packed rows. Multiples of 8. */
  int64_t query_strides[3], key_strides[3], value_strides[3], output_strides[3];
  int64_t bias_strides[3]; /* batch, head, row; 0 broadcasts; any other number will do */
  int32_t batch, num_heads, kv_num_heads, max_query_length, max_key_length, head_size;
  int32_t dtype, causal;
  float scale;    /* positive */
  int32_t tactic; /* index below mmedge_attention_tactics(), or -1: the table's choice */
} MmedgeAttention;

/* Launches on a CUDA stream. NULL, or what is wrong: a text that lasts until this thread's next
 * call. */
MMEDGE_API const char *mmedge_attention(const MmedgeAttention *call, void *stream);

/* Bytes of workspace that this call needs, and every call with a smaller batch or shorter lengths:
 * asked once, with the largest shapes. Needs no GPU. */
MMEDGE_API size_t mmedge_attention_workspace(const MmedgeAttention *call);

/* How many tile shapes can run this call; 0 where there is none for its head size or dtype. */
MMEDGE_API int mmedge_attention_tactics(const MmedgeAttention *call);

#ifdef __cplusplus
}
#endif
#endif
