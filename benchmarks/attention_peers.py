"""Who computes a case: our kernels, PyTorch's attention backends, and FlexAttention (Triton).

Each contender takes queries, keys and values where a projection leaves them, `[B, S, H, D]` in
memory; PyTorch's get transposed views of the same tensors, which all its backends read as they
are. A backend that cannot run a case says so (`UnsupportedError`), and the reason is recorded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from attention_cases import Case, Inputs, additive_mask, visible
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from mmedge.kernels.attention_library import AttentionLibrary, PreparedAttention

Call = Callable[[], Tensor]
BACKENDS = {
    "sdpa-flash": SDPBackend.FLASH_ATTENTION,
    "sdpa-cudnn": SDPBackend.CUDNN_ATTENTION,
    "sdpa-efficient": SDPBackend.EFFICIENT_ATTENTION,
}
UPPER_LEFT, LOWER_RIGHT = 1, 2


class UnsupportedError(Exception):
    """A contender cannot run this case; the message is its own."""


def contenders(library: AttentionLibrary | None) -> dict[str, Callable[[Case, Inputs], Call]]:
    """Name -> what prepares a call of it that gives `[B, Sq, H, D]`."""
    peers = {name: partial(sdpa, backend) for name, backend in BACKENDS.items()}
    ours = {} if library is None else {"mmedge": partial(mmedge_kernel, library)}
    return {**ours, **peers, "flex-triton": flex}


def mmedge_kernel(
    library: AttentionLibrary, case: Case, inputs: Inputs, *, tactic: int = -1
) -> Call:
    """Our kernel, prepared; `tactic` picks a tile shape."""
    return PreparedAttention(
        library,
        inputs.query,
        inputs.key,
        inputs.value,
        scale=case.scale,
        causal=case.causal,
        bias=inputs.bias,
        key_lengths=inputs.key_lengths,
        tactic=tactic,
    )


def sdpa(backend: SDPBackend, case: Case, inputs: Inputs) -> Call:
    """One backend of scaled_dot_product_attention, and no other. Raises UnsupportedError."""
    q, k, v = (t.transpose(1, 2) for t in (inputs.query, inputs.key, inputs.value))
    square = case.query_length == case.keys
    plain_causal = case.causal and inputs.key_lengths is None and inputs.bias is None
    is_causal = bool(plain_causal and (square or case.causal == UPPER_LEFT))
    mask = None if is_causal else additive_mask(case, inputs)
    if mask is not None:
        mask = mask.expand(case.batch, -1, case.query_length, -1)

    def run() -> Tensor:
        with sdpa_kernel(backend):
            out = F.scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=mask,
                is_causal=is_causal,
                scale=case.scale,
                enable_gqa=case.key_heads != case.heads,
            )
        return out.transpose(1, 2)

    return _tried(run)


def flex(case: Case, inputs: Inputs) -> Call:
    """FlexAttention, compiled to Triton; masks as block masks, bias as a score change."""
    if not inputs.query.is_cuda:
        raise UnsupportedError("compiles for GPUs only here")
    q, k, v = (t.transpose(1, 2) for t in (inputs.query, inputs.key, inputs.value))
    bias = inputs.bias

    def add_bias(score: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        assert bias is not None
        return score + bias[0, h, i, j]

    compiled = torch.compile(flex_attention, dynamic=False)
    call = partial(
        compiled,
        q,
        k,
        v,
        score_mod=None if bias is None else add_bias,
        block_mask=_block_mask(case, inputs),
        scale=case.scale,
        enable_gqa=case.key_heads != case.heads,
    )
    return _tried(lambda: call().transpose(1, 2))


def _block_mask(case: Case, inputs: Inputs) -> object:
    seen = visible(case, inputs.key_lengths, inputs.query.device)
    if seen is None:
        return None
    whole = seen.expand(case.batch, 1, case.query_length, case.keys)
    return create_block_mask(
        lambda b, h, i, j: whole[b, 0, i, j],
        case.batch,
        None,
        case.query_length,
        case.keys,
        device=inputs.query.device.type,
    )


def _tried(run: Call) -> Call:
    """`run`, after it ran once. Raises UnsupportedError with the first line of what it says."""
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            run()
    except Exception as error:  # each backend, and Triton's compiler, raise types of their own
        reasons = [str(w.message).split("\n")[0] for w in said] or [str(error).split("\n")[0]]
        raise UnsupportedError(reasons[0][:200]) from error
    return run
