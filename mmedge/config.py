"""What a compile was asked to do: defaults, the project's [compile] table, then flags."""

from __future__ import annotations

from typing import Any

import msgspec

from mmedge.axis_shapes import read_shapes
from mmedge.errors import ProjectError
from mmedge.opsets import OPSETS, named
from mmedge.runtime.runner import MOST_THREADS
from mmedge.strict import decode

COMPUTED_IN = ("fp32", "tf32", "fp16", "bf16", "int8")
BETWEEN = ("fp32", "same")
ATTENTION = ("auto", "plugin", "builtin")


class CompileConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of one compile.

    opset: ONNX operator set; None takes the target's.
    precision: what the engines compute in, "fp32", "fp16" or "bf16"; in "tf32" the target's matrix
        products may round their float32 inputs to 10 bits of mantissa; "int8" as far as it is
        right and faster.
    io_precision: of what goes between components, and of decoders' caches: "fp32", or "same" as the
        engines compute in ("fp16" only). The model's own inputs and outputs are what they are.
    attention: "plugin" puts our kernel in engines of TensorRT wherever it can compute an attention,
        "builtin" leaves all to TensorRT; "auto" goes by a table (`kernels/attention/choice.toml`).
    shapes: axis -> the sizes that engines are built for, "min:opt:max"; several, with commas
        between them, make several optimization profiles.
    optimization_level: how long a builder may look for the fastest engine, 0 to 5.
    workspace_bytes: the most scratch memory that a layer of an engine may have.
    threads: intra-op threads of the engine and of PyTorch in comparisons; None takes all cores.
    max_drop: how far the task metric may fall, as a fraction (0.005 is half a point).
    tolerance: how far an fp32 output may move, relative to the output's largest value.
    measure_seconds: how long PyTorch and the engine are timed against each other; 0 skips it.
    allow_slower: accept an engine that is measurably slower than PyTorch eager.
    cache_capacity: for how many tokens a decoder's cache has room, its buffers bound once; None
        takes what [recipe] capacity says, else a cache that grows.
    debug: compare the graph before and after every pass.
    trust_pickle: unpickle checkpoints that are not plain tensors.
    trust_remote_code: run the Python files that a Hugging Face directory brings.
    ignore_estimate: begin even where memory or disk are less than the compile is expected to need.
    """

    opset: int | None = None
    precision: str = "fp32"
    io_precision: str = "fp32"
    attention: str = "auto"
    shapes: dict[str, str] = {}
    optimization_level: int | None = None
    workspace_bytes: int | None = None
    threads: int | None = None
    max_drop: float = 0.001
    tolerance: float = 1e-4
    measure_seconds: float = 4.0
    allow_slower: bool = False
    cache_capacity: int | None = None
    debug: bool = False
    trust_pickle: bool = False
    trust_remote_code: bool = False
    ignore_estimate: bool = False


def merge(table: dict[str, Any], flags: dict[str, Any], *, where: object) -> CompileConfig:
    """The [compile] table of a project under the flags that were given (not None)."""
    given = {key: value for key, value in flags.items() if value is not None}
    config = decode({**table, **given}, CompileConfig, where=where)
    _check(config, where)
    return config


def _check(config: CompileConfig, where: object) -> None:
    limits = {
        "opset": (config.opset is None or config.opset in OPSETS, named(OPSETS)),
        "precision": (config.precision in COMPUTED_IN, ", ".join(COMPUTED_IN)),
        "io_precision": (config.io_precision in BETWEEN, ", ".join(BETWEEN)),
        "attention": (config.attention in ATTENTION, ", ".join(ATTENTION)),
        "optimization_level": (config.optimization_level in (None, *range(6)), "0 to 5"),
        "workspace_bytes": (config.workspace_bytes is None or config.workspace_bytes > 0, "1 up"),
        "threads": (
            config.threads is None or 1 <= config.threads <= MOST_THREADS,
            f"1 to {MOST_THREADS}",
        ),
        "max_drop": (0 <= config.max_drop <= 1, "a fraction between 0 and 1"),
        "tolerance": (0 < config.tolerance < 1, "between 0 and 1"),
        "cache_capacity": (config.cache_capacity is None or config.cache_capacity > 0, "1 or more"),
        "measure_seconds": (0 <= config.measure_seconds <= 3600, "0 to 3600"),
    }
    read_shapes(config.shapes)
    for key, (fits, expected) in limits.items():
        if not fits:
            raise ProjectError(
                f"{key} is out of range", found=getattr(config, key), expected=expected, where=where
            )
    if config.io_precision == "same" and config.precision != "fp16":
        raise ProjectError(
            "io_precision = same does nothing without precision = fp16",
            found=f"precision {config.precision}",
            expected="fp16: what goes between components is float32 in every other precision",
            where=where,
            hint="--precision fp16 --io-precision same, or leave --io-precision out",
        )
