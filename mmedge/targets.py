"""Targets: the machines an engine is built for. A target is data, a TOML file; no code knows one.

Looked for in this order, the first file called NAME.toml wins: directories given by the caller,
the user's own (`$XDG_CONFIG_HOME/mmedge/targets`, else `~/.config/mmedge/targets`), and those that
ship with mmedge. A path to a .toml file works in place of a name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from mmedge.errors import ProjectError
from mmedge.opsets import OPSETS, named
from mmedge.strict import decode, nearest, read_toml
from mmedge.target_files import TargetFile, target_directories, target_files

# As of TensorRT and of compute capabilities.
NUMBERS = re.compile(r"[0-9]+(\.[0-9]+)+")
# fp32 is float32 arithmetic throughout; the others name the narrowest format of weights.
PRECISIONS = ("fp32", "tf32", "bf16", "fp16", "int8", "fp8", "int4", "fp4")
# Names that a target may give as its backend; where they are defined: `mmedge.backends.base`.
BACKENDS = ("onnxruntime", "tensorrt")


class Threads(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many CPU threads an engine may use.

    intra_op: threads within an operator; 0 is every core the process may run on.
    inter_op: operators at a time.
    """

    intra_op: int = 0
    inter_op: int = 1


class Fact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One figure about a device, where it is from, and how far to trust it (0-1)."""

    value: int | float | str
    source: str
    confidence: float = 1.0


class TensorRTSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which TensorRT a target has.

    library: "tensorrt_rtx" builds engines anywhere for a GPU that is named; "tensorrt" builds them
        on the device, for the device.
    version: the oldest that the target has, to its second number ("10.3").
    compute_capability: of its GPU ("8.7").
    """

    library: Literal["tensorrt", "tensorrt_rtx"]
    version: str
    compute_capability: str


class QuantizationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a target's library wants 8-bit integers; "float" leaves operators of a kind as they are.

    activations: of static schemes: "uint8" with a zero point, or "int8" without.
    convolutions, products: "static", scales found by calibration, or, of products, "dynamic", as
        they come. recurrent: "dynamic" int8 weights and activations in LSTM layers.
    biases: of static schemes: "int32" behind a DequantizeLinear, or "float".
    joins: whether sums, pooling and concatenation between quantized operators are integers too.
    observer: how calibration finds a range: "min-max", "percentile", "mse" or "entropy".
    """

    activations: Literal["uint8", "int8"]
    convolutions: Literal["static", "float"]
    products: Literal["static", "dynamic", "float"]
    recurrent: Literal["dynamic", "float"]
    biases: Literal["int32", "float"]
    joins: bool
    observer: Literal["min-max", "percentile", "mse", "entropy"] = "mse"


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A machine to build for.

    backend: the name under which the backend that builds its engines is registered.
    providers: ONNX Runtime execution providers, the preferred first; empty for other backends.
    opset: version of the ai.onnx operator set that graphs for it are written in.
    precisions: number formats it runs natively.
    tensorrt: for backend "tensorrt", and for no other.
    quantization: how its integers are used; None for a target that has none.
    facts: what is known of the device, each figure with its source ("memory_bytes", ...).
    """

    name: str
    title: str
    backend: str
    opset: int
    precisions: tuple[str, ...]
    description: str = ""
    providers: tuple[str, ...] = ()
    threads: Threads = Threads()
    tensorrt: TensorRTSettings | None = None
    quantization: QuantizationSettings | None = None
    facts: dict[str, Fact] = {}


def load_target(name: str, *, search: Sequence[Path] = ()) -> Target:
    """The target called `name`, or of the .toml file at that path.

    Raises ProjectError for an unknown name (naming the nearest), an unknown key, a wrong value.
    """
    return _read(target_file(name, search=search).path)


def target_file(name: str, *, search: Sequence[Path] = ()) -> TargetFile:
    """The file that `load_target` reads. Raises ProjectError for an unknown name."""
    if name.endswith(".toml"):
        return TargetFile(Path(name).expanduser())
    files = target_files(search)
    if name not in files:
        raise ProjectError(
            f"there is no target {name!r}",
            where=", ".join(map(str, target_directories(search))),
            hint=nearest(name, list(files)) if files else "no targets are installed: reinstall",
        )
    return files[name]


def list_targets(*, search: Sequence[Path] = ()) -> list[Target]:
    """Every target whose file is right, by name; the other files are in `broken_targets`."""
    return [target for target in _all(search).values() if isinstance(target, Target)]


def broken_targets(*, search: Sequence[Path] = ()) -> dict[str, ProjectError]:
    """By name, the targets that cannot be loaded, and why."""
    return {name: error for name, error in _all(search).items() if isinstance(error, ProjectError)}


def _all(search: Sequence[Path]) -> dict[str, Target | ProjectError]:
    found: dict[str, Target | ProjectError] = {}
    for name, file in sorted(target_files(search).items()):
        try:
            found[name] = _read(file.path)
        except ProjectError as error:
            found[name] = error
    return found


def _read(path: Path) -> Target:
    target = decode(read_toml(path), Target, where=path)
    if target.name != path.stem:
        raise ProjectError(
            "a target's name is its file's name",
            found=target.name,
            expected=path.stem,
            where=path,
            hint=f'write name = "{path.stem}", or rename the file to {target.name}.toml',
        )
    _check(target, path)
    return target


def _check(target: Target, path: Path) -> None:
    for precision in target.precisions:
        if precision not in PRECISIONS:
            raise ProjectError(
                "unknown precision",
                found=precision,
                where=path,
                hint=nearest(precision, list(PRECISIONS)),
            )
    if target.opset not in OPSETS:
        raise ProjectError(
            "opset outside the range that mmedge writes",
            found=target.opset,
            expected=named(OPSETS),
            where=path,
        )
    _check_memory(target, path)
    if target.backend not in BACKENDS:
        raise ProjectError(
            f"unknown backend {target.backend!r}",
            expected=", ".join(BACKENDS),
            where=path,
            hint=nearest(target.backend, list(BACKENDS)),
        )
    if (target.backend == "tensorrt") != (target.tensorrt is not None):
        raise ProjectError(
            'a target of backend "tensorrt", and no other, has a table [tensorrt]',
            found=f'backend = "{target.backend}", {"a" if target.tensorrt else "no"} [tensorrt]',
            expected="[tensorrt] with library, version and compute_capability",
            where=path,
        )
    if target.tensorrt is not None:
        _check_tensorrt(target.tensorrt, path)
    if ("int8" in target.precisions) != (target.quantization is not None):
        raise ProjectError(
            'a target with "int8" among its precisions, and no other, has a table [quantization]',
            found=f"precisions {', '.join(target.precisions)}, "
            f"{'a' if target.quantization else 'no'} [quantization]",
            expected="[quantization] with activations, convolutions, products, recurrent, joins",
            where=path,
        )
    if target.threads.intra_op < 0 or target.threads.inter_op < 1:
        raise ProjectError(
            "impossible number of threads",
            found=f"intra_op = {target.threads.intra_op}, inter_op = {target.threads.inter_op}",
            expected="intra_op of at least 0 (0 is every core), inter_op of at least 1",
            where=path,
        )


def _check_memory(target: Target, path: Path) -> None:
    """What engines are held against is a number: of a text nothing would be checked."""
    fact = target.facts.get("memory_bytes")
    if fact is None:
        return
    if isinstance(fact.value, str) or not 0 < fact.value < math.inf:
        raise ProjectError(
            "[facts.memory_bytes] value is no number of bytes",
            found=repr(fact.value),
            expected="a number above 0, as 12884901888",
            where=path,
            hint="write it in bytes, without a unit and without quotes",
        )


def _check_tensorrt(settings: TensorRTSettings, path: Path) -> None:
    for key, example in (("version", "10.3"), ("compute_capability", "8.6")):
        if not NUMBERS.fullmatch(getattr(settings, key)):
            raise ProjectError(
                f"[tensorrt] {key} is no version",
                found=getattr(settings, key),
                expected=f'numbers with dots between them, as "{example}"',
                where=path,
            )
