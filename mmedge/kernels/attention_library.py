"""The fused-attention kernels, called on PyTorch tensors through their C interface (ctypes).

The same interface is exported by the CUDA library that `mmedge kernels build` makes and by the
host emulation of the same sources, so one caller serves both: CUDA tensors for the first, CPU
tensors for the second. `kernels/attention/attention.h` declares what is called here.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmedge.errors import BuildError, InputError
from mmedge.optional import require

if TYPE_CHECKING:
    from torch import Tensor

FP16, BF16 = 0, 1
THE_TABLES_CHOICE = -1
_Strides = ctypes.c_int64 * 3


class Arguments(ctypes.Structure):
    """`MmedgeAttention` of attention.h, field for field."""

    _fields_ = (
        ("query", ctypes.c_void_p),
        ("key", ctypes.c_void_p),
        ("value", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("output", ctypes.c_void_p),
        ("workspace", ctypes.c_void_p),
        ("key_lengths", ctypes.c_void_p),
        ("cumulative_query_lengths", ctypes.c_void_p),
        ("cumulative_key_lengths", ctypes.c_void_p),
        ("query_strides", _Strides),
        ("key_strides", _Strides),
        ("value_strides", _Strides),
        ("output_strides", _Strides),
        ("bias_strides", _Strides),
        ("batch", ctypes.c_int32),
        ("num_heads", ctypes.c_int32),
        ("kv_num_heads", ctypes.c_int32),
        ("max_query_length", ctypes.c_int32),
        ("max_key_length", ctypes.c_int32),
        ("head_size", ctypes.c_int32),
        ("dtype", ctypes.c_int32),
        ("causal", ctypes.c_int32),
        ("scale", ctypes.c_float),
        ("tactic", ctypes.c_int32),
    )


class AttentionLibrary:
    """A shared library with the kernels in it.

    path: of the library. Raises BuildError where it cannot be loaded or is another library.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._library = ctypes.CDLL(str(path))
            self._run = self._library.mmedge_attention
            self._workspace = self._library.mmedge_attention_workspace
            self._tactics = self._library.mmedge_attention_tactics
        except (OSError, AttributeError) as error:
            raise BuildError(
                f"{path} is not a library of mmedge's attention kernels",
                found=str(error),
                expected="what `mmedge kernels build` writes",
            ) from error
        self._run.restype, self._run.argtypes = ctypes.c_char_p, (ctypes.c_void_p, ctypes.c_void_p)
        self._workspace.restype = ctypes.c_size_t
        self._workspace.argtypes = self._tactics.argtypes = (ctypes.c_void_p,)

    def tactics(self, call: Arguments) -> int:
        """How many tile shapes can run this call; `call.tactic` may be 0 to that less one."""
        return int(self._tactics(ctypes.byref(call)))

    def workspace_bytes(self, call: Arguments) -> int:
        """Bytes that `call.workspace` has to have."""
        return int(self._workspace(ctypes.byref(call)))

    def launch(self, call: Arguments, *, stream: int = 0) -> None:
        """Run on a CUDA stream (its handle). Raises InputError with the library's words."""
        refused = self._run(ctypes.byref(call), stream)
        if refused is not None:
            raise InputError(f"the attention kernel refused a call: {refused.decode()}")


class PreparedAttention:
    """One call with all its buffers, ready to be launched again and again.

    query [batch, q_length, heads, head_size], key and value [batch, k_length, kv_heads, head_size];
    or packed, [tokens, heads, head_size], with cumulative_lengths. float16 or bfloat16, the last
    axis contiguous.
    bias: [1 or batch, 1 or heads, q_length, k_length], of the same dtype.
    key_lengths: int32 [batch].
    cumulative_lengths: of queries and of keys, int32 [batch + 1] each, with the longest of each.
    output: shaped and typed like query; made where it is None.
    """

    def __init__(
        self,
        library: AttentionLibrary,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        scale: float,
        causal: int = 0,
        bias: Tensor | None = None,
        key_lengths: Tensor | None = None,
        cumulative_lengths: tuple[Tensor, Tensor] | None = None,
        longest: tuple[int, int] | None = None,
        output: Tensor | None = None,
        tactic: int = THE_TABLES_CHOICE,
    ) -> None:
        torch = require("torch")
        if output is None:
            output = torch.empty_like(query, memory_format=torch.contiguous_format)
        self.output: Tensor = output
        self._library, self._device = library, query.device
        packed = cumulative_lengths is not None
        self.call = call = Arguments(
            query=query.data_ptr(),
            key=key.data_ptr(),
            value=value.data_ptr(),
            output=self.output.data_ptr(),
            query_strides=_strides(query, packed=packed),
            key_strides=_strides(key, packed=packed),
            value_strides=_strides(value, packed=packed),
            output_strides=_strides(self.output, packed=packed),
            num_heads=query.shape[-2],
            kv_num_heads=key.shape[-2],
            head_size=query.shape[-1],
            dtype=_dtype(query),
            causal=causal,
            scale=scale,
            tactic=tactic,
        )
        if cumulative_lengths is None:
            call.batch, call.max_query_length = query.shape[0], query.shape[1]
            call.max_key_length = key.shape[1]
        else:
            call.batch = len(cumulative_lengths[0]) - 1
            call.cumulative_query_lengths = cumulative_lengths[0].data_ptr()
            call.cumulative_key_lengths = cumulative_lengths[1].data_ptr()
            call.max_query_length, call.max_key_length = longest or (len(query), len(key))
        if bias is not None:
            call.bias, call.bias_strides = bias.data_ptr(), _bias_strides(bias)
        if key_lengths is not None:
            call.key_lengths = key_lengths.data_ptr()
        size = library.workspace_bytes(call)
        self._workspace = torch.empty(size, dtype=torch.uint8, device=query.device)
        call.workspace = self._workspace.data_ptr() if size else None
        # The library sees addresses only: what is behind them lives as long as this call.
        self._kept = (query, key, value, bias, key_lengths, cumulative_lengths)

    def __call__(self) -> Tensor:
        """Launch on the current CUDA stream (or run, in the emulation); the output tensor."""
        torch = require("torch")
        on_gpu = self._device.type == "cuda"
        stream = torch.cuda.current_stream(self._device).cuda_stream if on_gpu else 0
        self._library.launch(self.call, stream=stream)
        return self.output

    @property
    def tactics(self) -> int:
        """How many tile shapes the library has for this call."""
        return self._library.tactics(self.call)


def _dtype(query: Tensor) -> int:
    torch: Any = require("torch")
    known = {torch.float16: FP16, torch.bfloat16: BF16}
    if query.dtype not in known:
        raise InputError("the attention kernels take float16 and bfloat16", found=str(query.dtype))
    return known[query.dtype]


def _strides(tensor: Tensor, *, packed: bool) -> ctypes.Array[ctypes.c_int64]:
    """Elements between batches, rows and heads."""
    strides = (0, *tensor.stride()) if packed else tensor.stride()
    return _Strides(*strides[:3])


def _bias_strides(bias: Tensor) -> ctypes.Array[ctypes.c_int64]:
    """Elements between batches, heads and rows; 0 where an axis of length 1 is broadcast."""
    axes = range(3)
    return _Strides(*(0 if bias.shape[a] == 1 and a < 2 else bias.stride(a) for a in axes))
