"""Whether a graph in a narrow format could be proved on this machine: asked before any work."""

from __future__ import annotations

from mmedge.errors import ProjectError
from mmedge.graph.precision.decide import HEAVY
from mmedge.graph.precision.formats import FORMATS
from mmedge.graph.precision.kernels import CPU, has_kernel
from mmedge.targets import Target


def check_provable(target: Target, precision: str) -> None:
    """Raise ProjectError where ONNX Runtime has no kernel for products in `precision`.

    A graph without such operators is not converted; one with other operators that have no kernel
    is refused when it is there.
    """
    narrow = FORMATS.get(precision)
    providers = target.providers or (CPU,)
    if narrow is None or any(has_kernel(name, "", narrow, providers) for name in HEAVY):
        return
    expected = "kernels that compute in it: no engine is built from a graph that was not proved"
    raise ProjectError(
        f"no graph can be verified in {precision} on this machine",
        found=f"{', '.join(providers)} of ONNX Runtime has none for {', '.join(sorted(HEAVY))}",
        expected=expected,
        hint="--precision fp16, which has the same size"
        if "fp16" in target.precisions
        else "--precision fp32",
    )
