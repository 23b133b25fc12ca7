"""What TensorRT asks of the attention plugin while it builds, answered without the library.

`kernels/attention/plan.h` and `plugin/call.h` decide the same for the library; the tests hold the
two together, since an engine keeps the answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmedge.errors import BuildError
from mmedge.kernels.kernel_table import Instance, KernelTable, instances
from mmedge.ops.fused_attention import LENGTHS_PACKED, FusedAttention

# As in plan.h.
LONGEST_DECODE = 16
MOST_SPLITS = 64
WANTED_BLOCKS_EACH = 4
MOST_MULTIPROCESSORS = 256
HEAD_UNIT = 16
FLOAT_BYTES = 4
# Tactic 1 is the table's own choice, made anew for every shape; the tile shapes follow.
TABLES_CHOICE = 1


@dataclass(frozen=True)
class Largest:
    """The largest shapes of a profile, as far as a plan depends on them."""

    batch: int
    num_heads: int
    queries: int
    keys: int
    head_size: int
    packed: bool


def largest(attention: FusedAttention, shapes: Sequence[Sequence[int]]) -> Largest:
    """shapes: of each input, in the op's order. BuildError where they are none of the op's."""
    query, key = shapes[0], shapes[1]
    packed = attention.len_mode == LENGTHS_PACKED
    if len(query) not in ((2, 3) if packed else (3,)) or query[-1] % attention.num_heads:
        raise BuildError("the shapes are not those of mmedge::FusedAttention", found=shapes)
    batch = shapes[3 + attention.has_bias][0] - 1 if packed else query[0]
    size = query[-1] // attention.num_heads
    return Largest(batch, attention.num_heads, query[-2], key[-2], size, packed)


def tactics(call: Largest, table: KernelTable, compute_capability: str) -> list[int]:
    """The table's choice, and a number for each tile shape that can run the call."""
    instance = _instance(call, table, compute_capability)
    tiles = len(instance.forward) + (len(instance.decode) if _can_split(call) else 0)
    return list(range(TABLES_CHOICE, TABLES_CHOICE + tiles + 1))


def workspace_bytes(call: Largest, table: KernelTable, compute_capability: str) -> int:
    """Of this call and of every smaller one: partial results of keys that are split."""
    if call.packed:
        return 0
    instance = _instance(call, table, compute_capability)
    parts = max((_parts(call, rows, keys) for rows, keys in instance.decode), default=0)
    return parts * (call.head_size + 1) * FLOAT_BYTES


def _parts(call: Largest, tile_rows: int, tile_keys: int) -> int:
    splits = min(-(-call.keys // tile_keys), MOST_SPLITS)
    if splits < 2:
        return 0
    rows = call.batch * call.num_heads * min(call.queries, LONGEST_DECODE)
    return min(rows * splits, WANTED_BLOCKS_EACH * MOST_MULTIPROCESSORS * tile_rows)


def _can_split(call: Largest) -> bool:
    return call.queries <= LONGEST_DECODE and not call.packed


def _instance(call: Largest, table: KernelTable, compute_capability: str) -> Instance:
    """Of either dtype: they have the same tiles."""
    padded = -(-call.head_size // HEAD_UNIT) * HEAD_UNIT
    for instance in instances(table, compute_capability):
        if instance.padded_head_size == padded and call.head_size % 8 == 0:
            return instance
    raise BuildError(
        f"{table.op} has no kernel for this head size",
        found=call.head_size,
        expected=f"a multiple of 8 within {', '.join(map(str, table.padded_head_sizes))}",
        hint="--attention builtin leaves attention to TensorRT",
    )
