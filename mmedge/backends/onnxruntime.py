"""ONNX Runtime: the graph itself is the engine, optimised for the machine when it is loaded."""

from __future__ import annotations

from pathlib import Path

from mmedge.artifact import EngineFile
from mmedge.backends.base import Engine
from mmedge.errors import BuildError
from mmedge.optional import require
from mmedge.placing import place
from mmedge.runtime.runner import open_engine
from mmedge.targets import Target
from mmedge.tensors import TensorSpec
from mmedge.wiring import ComponentSpec


class OnnxRuntimeBackend:
    """Takes the graph, and proves that ONNX Runtime loads it with the target's provider."""

    kind = "onnxruntime"

    def build(
        self,
        component: ComponentSpec,
        graph: Path,
        *,
        target: Target,
        directory: Path,
        precision: str = "fp32",
        engines: int = 1,
    ) -> Engine:
        """An engine of kind "onnxruntime". Raises BuildError as the protocol says."""
        runtime = require("onnxruntime", purpose=f"building {component.name!r}")
        path = directory / graph.name
        files = [graph, *(f for f in [graph.with_suffix(".data")] if f.is_file())]
        for source in files:
            place(source, directory / source.name)
        # Without providers of its own a target would be served by the CPU, silently.
        options = {"providers": ",".join(target.providers)} if target.providers else {}
        if engines > 1:
            # Each session keeps its idle threads spinning, on the cores that the next session
            # needs: examples/vqa on 2 cores had a p99 of 9 ms at a median of 0.6 ms, and without
            # spinning 1.4 ms at 0.7 ms.
            options["intra_op.allow_spinning"] = "0"
        with open_engine(self.kind, path, options=options) as runner:
            _check_interface(component, "inputs", component.inputs, runner.input_specs)
            _check_interface(component, "outputs", component.outputs, runner.output_specs)
        file = EngineFile(
            kind=self.kind,
            path=str(path),
            precision=precision,
            built_with={"onnxruntime": str(runtime.__version__)},
            size_bytes=sum(source.stat().st_size for source in files),
            options=options,
        )
        return Engine(component, file)


def _check_interface(
    component: ComponentSpec,
    side: str,
    expected: tuple[TensorSpec, ...],
    found: tuple[TensorSpec, ...],
) -> None:
    """Names, dtypes and ranks as the wiring states them."""
    facts = [[(t.name, t.dtype, len(t.shape)) for t in specs] for specs in (expected, found)]
    if facts[0] != facts[1]:
        raise BuildError(
            f"the engine of {component.name!r} has other {side} than its graph",
            found=", ".join(map(str, found)),
            expected=", ".join(map(str, expected)),
        )
