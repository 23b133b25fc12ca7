"""Whether a target computes in a number format: asked before any work is done."""

from __future__ import annotations

from mmedge.capabilities import Formats, capabilities, version_of
from mmedge.config import COMPUTED_IN
from mmedge.errors import ProjectError
from mmedge.targets import Target

# From a format, those to try instead: the ones most like it first, but bf16 last: ONNX Runtime's
# CPU provider has no kernels to prove it with.
NEAREST = {
    "fp4": ("int4", "fp8", "int8", "fp16", "bf16"),
    "fp8": ("int8", "fp16", "bf16"),
    "int4": ("int8", "fp16"),
    "int8": ("fp16", "bf16"),
    "bf16": ("fp16", "tf32"),
    "fp16": ("tf32", "bf16"),
    "tf32": ("fp32",),
}


def check_precision(target: Target, precision: str) -> None:
    """Raise ProjectError where the target's GPU or library has no such number format.

    It names the target, what the format needs, and the nearest format that works.
    """
    named = tuple(p for p in target.precisions if _available(target, p))
    if precision in named:
        return
    found = None
    if target.tensorrt is not None:
        gpu, least = target.tensorrt, _least(target, precision)
        found = f"{gpu.library} {gpu.version}, compute capability {gpu.compute_capability}"
        if least is not None:
            found += f"; {precision} needs {least.least} or more"
            found += f": {least.why}" if least.why else ""
    raise ProjectError(
        f"the target {target.name!r} cannot compute in {precision}",
        found=found,
        expected=", ".join(named),
        hint=f"--precision {_nearest(precision, named)}" if named else None,
    )


def _nearest(precision: str, named: tuple[str, ...]) -> str:
    """Of those that work, the one most like it; of those, one that a compile can be asked for."""
    liked = [other for other in NEAREST.get(precision, ()) if other in named]
    asked = [other for other in (*liked, *named) if other in COMPUTED_IN]
    return (asked or list(named))[0]


def _available(target: Target, precision: str) -> bool:
    if target.tensorrt is None:
        return True
    rows = [r for r in capabilities(target.tensorrt).precisions if precision in r.names]
    gpu = version_of(target.tensorrt.compute_capability)
    return any(not row.least or gpu >= version_of(row.least) for row in rows)


def _least(target: Target, precision: str) -> Formats | None:
    """The row that asks more of the GPU than it is; None where the GPU is not what is wrong."""
    assert target.tensorrt is not None
    rows = [r for r in capabilities(target.tensorrt).precisions if precision in r.names]
    return rows[0] if rows and not _available(target, precision) else None
