"""A model taken apart by its recipe and run along its wiring, in torch or as ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from mmedge_export.huggingface.inputs import named_shape
from torch import Tensor, nn

from mmedge.graph.boundaries import infer_boundaries
from mmedge.graph.export import export_component
from mmedge.graph.files import graph_specs, save_graph
from mmedge.graph.passes import DEFAULT_PASSES, LEGALIZING_PASSES, run_passes
from mmedge.graph.stages import _arguments
from mmedge.graph.wire import wire
from mmedge.project import Project, project_from_mapping
from mmedge.recipes import ComponentModule, Split, load_recipe
from mmedge.runtime.execute import evaluate, execute
from mmedge.tensors import Array, TensorSpec
from mmedge.wiring import Wiring

OPSET = 23
RANGES = {
    "batch": {"min": 1, "opt": 1, "max": 64},
    "length": {"min": 2, "opt": 16, "max": 64},
    "decoder_length": {"min": 2, "opt": 8, "max": 48},
    "samples": {"min": 2000, "opt": 4000, "max": 16000},
}
Run = Callable[[str, dict[str, Array]], dict[str, Array]]


@dataclass(frozen=True)
class Apart:
    """A split, and everything it takes to run it."""

    model: nn.Module
    example: dict[str, Tensor]
    project: Project
    split: Split
    directory: Path
    sessions: dict[str, Any] = field(default_factory=dict)

    def component(self, name: str) -> ComponentModule:
        return next(c for c in self.split.components if c.name == name)

    def rows(self, *which: int) -> dict[str, Tensor]:
        """These rows of the example."""
        return {name: tensor[list(which)] for name, tensor in self.example.items()}

    def eager(self, name: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        component = self.component(name)
        order = [*component.bindings]
        assert self.split.generation is not None
        if name == self.split.generation.decoder:
            order += [spec.name for spec in self.split.decoder_inputs]
        with torch.no_grad():
            made = component.module(*(torch.tensor(feeds[n]) for n in order))
        tensors = (made,) if isinstance(made, Tensor) else made
        return {n: t.numpy() for n, t in zip(component.outputs, tensors, strict=True)}

    def onnx(self, name: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        session = self.sessions[name]
        wanted = {item.name: feeds[item.name] for item in session.get_inputs()}
        names = [item.name for item in session.get_outputs()]
        return dict(zip(names, session.run(None, wanted), strict=True))

    @cached_property
    def boundaries(self) -> dict[str, TensorSpec]:
        inputs, axes = self.project.model_inputs(), self.project.axes()
        return infer_boundaries(self.split, inputs, self.example, axes)

    @cached_property
    def wiring(self) -> Wiring:
        """With every input that the modules have."""
        values = self.split.run(self.example)
        specs = {}
        for component in self.split.components:
            taken, given = _arguments(component, self.split, self.boundaries, values)
            with torch.no_grad():
                made = component.module(*given)
            tensors = (made,) if isinstance(made, Tensor) else made
            outputs = zip(component.outputs, tensors, strict=True)
            specs[component.name] = (
                tuple(taken),
                tuple(self._output(component, *o) for o in outputs),
            )
        return self._wired(specs)

    def _output(self, component: ComponentModule, name: str, tensor: Tensor) -> TensorSpec:
        source = f"{component.name}.{name}"
        if source in self.boundaries:
            spec = self.boundaries[source]
            return TensorSpec(name, spec.dtype, spec.shape)
        dims = tuple("batch" if i == 0 else f"{name}_{i}" for i in range(tensor.ndim))
        return TensorSpec(name, str(tensor.dtype)[6:], dims)

    def export(self) -> Wiring:
        """Every component as ONNX, opened in ONNX Runtime; the wiring of what is left."""
        values, specs = self.split.run(self.example), {}
        for component in self.split.components:
            taken, given = _arguments(component, self.split, self.boundaries, values)
            graph = export_component(
                component,
                taken,
                given,
                axes=self.project.axes(),
                opset=OPSET,
                project_directory=self.directory,
                aid=self.split.aid,
            )
            for passes in (LEGALIZING_PASSES, DEFAULT_PASSES):
                graph, _ = run_passes(graph, passes)
            path = self.directory / f"{component.name}.onnx"
            save_graph(graph, path)
            specs[component.name] = graph_specs(graph)
            providers = ["CPUExecutionProvider"]
            self.sessions[component.name] = ort.InferenceSession(str(path), providers=providers)
        return self._wired(specs)

    def _wired(self, specs: Any) -> Wiring:
        wiring = wire(self.project, self.split, specs)
        wiring.check()
        return wiring


def arrays(inputs: Mapping[str, Tensor]) -> dict[str, Array]:
    return {name: tensor.numpy() for name, tensor in inputs.items()}


@dataclass(frozen=True)
class Checks:
    """What has to hold of a model taken apart."""

    apart: Apart

    def generates_as_upstream(self, wiring: Wiring, run: Run, *which: int) -> None:
        """The tokens of `generate`, for these rows of the example."""
        inputs = self.apart.rows(*which)
        expected = self.apart.split.reference(inputs)["tokens"].numpy()
        assert expected.shape[1] >= 4, "too short to tell"
        found = execute(wiring, arrays(inputs), run)["tokens"]
        np.testing.assert_array_equal(found, expected)

    def components_are_eager(self, wiring: Wiring, *, axis: str, size: int) -> None:
        """Every ONNX component but the decoder gives what torch gives, at another size."""
        split, project = self.apart.split, self.apart.project
        specs = [item.spec for item in project.model_inputs()]
        inputs = split.resized(arrays(self.apart.example), specs, axis=axis, size=size)
        sources = [
            f"{component.name}.{output.name}"
            for component in wiring.components
            for output in component.outputs
            if component.name != wiring.generation.decoder  # type: ignore[union-attr]
        ]
        expected = split.run({name: torch.from_numpy(array) for name, array in inputs.items()})
        found = evaluate(wiring, inputs, self.apart.onnx, sources)
        for source in sources:
            want = expected[source].numpy()
            scale = max(1.0, float(np.abs(want).max()))
            np.testing.assert_allclose(found[source], want, rtol=1e-4, atol=1e-4 * scale)


@pytest.fixture
def take_apart(tmp_path: Path) -> Callable[..., Apart]:
    """`take_apart("recipe", model, example, ...options of [recipe])`."""

    def take(recipe: str, model: nn.Module, example: dict[str, Tensor], **options: Any) -> Apart:
        example = {name: tensor.contiguous() for name, tensor in example.items()}
        shapes = {name: list(named_shape(name, t.numpy())) for name, t in example.items()}
        if "attention_mask" in shapes and "input_ids" not in shapes:
            length = example["attention_mask"].shape
            own = next(n for n, t in example.items() if t.shape[:2] == length)
            shapes["attention_mask"] = shapes[own][:2]
        inputs = {
            name: {"shape": shape, "dtype": str(example[name].dtype)[6:]}
            for name, shape in shapes.items()
        }
        used = {dim for shape in shapes.values() for dim in shape}
        axes = {name: limits for name, limits in RANGES.items() if name in used}
        table = {"name": "tiny", "inputs": inputs, "axes": axes}
        project = project_from_mapping(tmp_path, table)
        split = load_recipe(recipe).split(model, project, options, example)
        return Apart(model, example, project, split, tmp_path)

    return take


@pytest.fixture
def check() -> type[Checks]:
    """`check(apart).generates_as_upstream(...)`."""
    return Checks


@pytest.fixture
def apart_type() -> type[Apart]:
    """For who splits a model by a project of its own."""
    return Apart
