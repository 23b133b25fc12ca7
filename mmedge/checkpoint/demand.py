"""What compiling a checkpoint takes of memory and disk, from its header, before any work.

Of the weights in the precision they are computed in (C bytes) a compile holds at its peak, while
it verifies and measures:

- C in the engine, which keeps them packed for its kernels. The system can't take these back.
- C in PyTorch's model. Of a Hugging Face directory they are pages of the mapped file, which the
  system takes back when memory is short; of other checkpoints, memory like the engine's.
- OVERHEAD_BYTES of libraries, graphs and allocators.

Activations come on top: they depend on the samples. On disk, the exported and the rewritten graph
have C bytes each; the engine is a link to the latter, and so is the bundle's on the same disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

from mmedge.checkpoint.adapters import WEIGHTS, adapter_factors, base_directory
from mmedge.checkpoint.formats import Format, detect, find_index
from mmedge.checkpoint.hashing import checkpoint_files
from mmedge.checkpoint.header import shard_files, stored_tensors
from mmedge.checkpoint.huggingface import weight_files
from mmedge.checkpoint.working_copy import computed_bytes, needs_widening

# What was measured beyond twice the weights: 435 to 638 MiB, ViT and CLIP from 0.6 MB to 2.4 GB,
# torch 2.13, transformers 5.23, ONNX Runtime 1.31 on x86-64.
OVERHEAD_BYTES = 640 << 20
# Weights on disk in the cache: as exported, and as rewritten.
GRAPHS = 2


@dataclass(frozen=True)
class Demand:
    """What a compile is expected to take, in bytes.

    held: memory that stays occupied. mapped: pages of files, which the system can take back.
    cache: disk in the cache, temporary files included. bundle: disk of the bundle.
    """

    held: int
    mapped: int
    cache: int
    bundle: int

    @property
    def peak(self) -> int:
        """The largest resident set to expect."""
        return self.held + self.mapped


def demand(path: Path) -> Demand:
    """The demand of the checkpoint at `path`; CheckpointError where it is damaged or foreign."""
    format = detect(path)
    if format is Format.ADAPTER:
        return _adapted(path)
    if format is Format.HUGGING_FACE:
        return _of_files(weight_files(path), model_is_mapped=True)
    if format is Format.SAFETENSORS:
        return _of_files((path,), model_is_mapped=False)
    if format is Format.SHARDED_SAFETENSORS and (index := find_index(path)) is not None:
        return _of_files(shard_files(index), model_is_mapped=False)
    # Pickles don't tell without being read: taken for float32.
    size = sum(file.stat().st_size for file in checkpoint_files(path))
    return Demand(held=OVERHEAD_BYTES + 2 * size, mapped=0, cache=GRAPHS * size, bundle=size)


def _of_files(files: tuple[Path, ...], *, model_is_mapped: bool) -> Demand:
    tensors = [tensor for file in files for tensor in stored_tensors(file)]
    size = sum(map(computed_bytes, tensors))
    widened = needs_widening(tensor.entry.dtype for tensor in tensors)
    stored = sum(tensor.entry.size_bytes for tensor in tensors)
    return Demand(
        held=OVERHEAD_BYTES + (size if model_is_mapped else 2 * size),
        mapped=size if model_is_mapped else stored,
        cache=GRAPHS * size + (size if model_is_mapped and widened else 0),
        bundle=size,
    )


def _adapted(path: Path) -> Demand:
    """The base model, with the changed weights in memory: they are in no file."""
    base = demand(base_directory(path))
    shapes = {t.entry.name: t.entry.shape for t in stored_tensors(path / WEIGHTS)}
    pairs = adapter_factors(shapes).values()
    whole = [pair for pair in pairs if set(pair) == {"A", "B"}]  # the others are refused later
    changed = sum(4 * prod(p["A"]) * prod(p["B"]) // max(1, p["A"][0]) ** 2 for p in whole)
    return Demand(base.held + changed, base.mapped, base.cache, base.bundle)
