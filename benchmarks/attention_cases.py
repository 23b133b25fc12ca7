"""The shapes that `benchmarks/attention.py` measures, their tensors and their exact answers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from torch import Tensor

CASES = Path(__file__).with_name("attention_cases.toml")
BYTES = 2  # of a float16 or bfloat16


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One shape; what the fields mean is written in attention_cases.toml."""

    name: str
    model: str
    goal: str
    batch: int
    heads: int
    query_length: int
    head_size: int
    key_length: int | None = None
    kv_heads: int | None = None
    causal: int = 0
    bias: bool = False
    lengths: float | None = None

    @property
    def keys(self) -> int:
        """Key positions of a row, padding included."""
        return self.key_length or self.query_length

    @property
    def key_heads(self) -> int:
        """Heads of keys and values."""
        return self.kv_heads or self.heads

    @property
    def scale(self) -> float:
        """What the scores are multiplied by."""
        return 1 / math.sqrt(self.head_size)


@dataclass(frozen=True)
class Inputs:
    """query [B, Sq, H, D]; key, value [B, Skv, Hkv, D]; bias [1, H, Sq, Skv]; key_lengths [B]."""

    query: Tensor
    key: Tensor
    value: Tensor
    bias: Tensor | None
    key_lengths: Tensor | None


def read_cases(path: Path = CASES) -> tuple[Case, ...]:
    """The cases of a file, in its order."""
    return msgspec.convert(msgspec.toml.decode(path.read_bytes())["case"], tuple[Case, ...])


def make_inputs(case: Case, dtype: torch.dtype, device: torch.device, *, seed: int) -> Inputs:
    """Fresh normally distributed inputs; lengths uniform between the case's share and all."""
    draw = torch.Generator(device).manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw, device=device, dtype=torch.float32).to(dtype)

    b, h, d = case.batch, case.heads, case.head_size
    lengths = None
    if case.lengths is not None:
        fewest = max(1, int(case.keys * case.lengths))
        lengths = torch.randint(
            fewest, case.keys + 1, (b,), generator=draw, device=device, dtype=torch.int32
        )
    return Inputs(
        query=normal(b, case.query_length, h, d),
        key=normal(b, case.keys, case.key_heads, d),
        value=normal(b, case.keys, case.key_heads, d),
        bias=normal(1, h, case.query_length, case.keys) if case.bias else None,
        key_lengths=lengths,
    )


def visible(case: Case, lengths: Tensor | None, device: torch.device) -> Tensor | None:
    """bool, broadcast to [B, 1, Sq, Skv]: which keys a query sees; None where it sees all."""
    keys = torch.arange(case.keys, device=device)
    ends = lengths.view(-1, 1, 1, 1) if lengths is not None else None
    mask = None if ends is None else keys < ends
    if case.causal:
        queries = torch.arange(case.query_length, device=device).view(1, 1, -1, 1)
        shift = ((case.keys if ends is None else ends) - case.query_length) * (case.causal == 2)
        below = keys <= queries + shift
        mask = below if mask is None else mask & below
    return mask


def additive_mask(case: Case, inputs: Inputs) -> Tensor | None:
    """Bias and visibility as one mask of the inputs' dtype, as SDPA takes it; None without."""
    seen = visible(case, inputs.key_lengths, inputs.query.device)
    if seen is None:
        return inputs.bias
    empty = torch.zeros((), dtype=inputs.query.dtype, device=inputs.query.device)
    return torch.where(seen, empty if inputs.bias is None else inputs.bias, -math.inf)


def exact(case: Case, inputs: Inputs) -> Tensor:
    """The answer in float64, [B, Sq, H, D]; heads one at a time, so that memory stays small."""
    mask = additive_mask(case, inputs)
    group = case.heads // case.key_heads
    heads = []
    for head in range(case.heads):
        q = inputs.query[:, :, head].double()
        k, v = (t[:, :, head // group].double() for t in (inputs.key, inputs.value))
        scores = q @ k.transpose(1, 2) * case.scale
        if mask is not None:
            scores = scores + mask[:, head if mask.shape[1] > 1 else 0].double()
        heads.append(scores.softmax(-1).nan_to_num(0.0) @ v)
    return torch.stack(heads, dim=2)


def operations(case: Case, lengths: Tensor | None) -> float:
    """Floating-point operations of both products, over the keys that are seen."""
    seen = visible(case, lengths, torch.device("cpu") if lengths is None else lengths.device)
    pairs = case.batch * case.query_length * case.keys
    if seen is not None:
        whole = (case.batch, 1, case.query_length, case.keys)
        pairs = int(seen.expand(whole).sum())
    return 4.0 * case.heads * case.head_size * pairs


def exponentials(case: Case, lengths: Tensor | None) -> float:
    """How many exponentials the softmax takes, over the keys that are seen."""
    return operations(case, lengths) / (4 * case.head_size)


def moved_bytes(case: Case, lengths: Tensor | None) -> float:
    """Bytes that must be read and written once: queries, real keys and values, bias, output."""
    keys = case.batch * case.keys if lengths is None else float(lengths.sum())
    elements = 2 * case.batch * case.query_length * case.heads * case.head_size
    elements += 2 * keys * case.key_heads * case.head_size
    if case.bias:
        elements += case.heads * case.query_length * case.keys
    return float(elements * BYTES)
