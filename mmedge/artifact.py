"""What the stages hand to each other: the model in its current form, and what was done to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from mmedge.engine_plan import EnginePlan
from mmedge.tensors import TensorSpec
from mmedge.wiring import Wiring

# ONNX node metadata: the path of the user's PyTorch module that the node came from.
MODULE_PATH = "mmedge.module"


class EngineFile(msgspec.Struct, frozen=True):
    """One component as a backend's engine.

    kind: the key of the runner that opens it (`mmedge.runtime.runner`).
    path: the engine's own file; `<stem>.data` beside it belongs to it (external weights).
    options: what the kind's runner is opened with, on every machine.
    memory: what the builder says that it will take, in bytes by use ("activations_bytes").
    plugin_files: what it cannot run without: name within the bundle -> where it is now.
    """

    kind: str
    path: str
    precision: str
    built_with: dict[str, str]
    size_bytes: int
    options: dict[str, str] = {}
    memory: dict[str, int] = {}
    plugin_files: dict[str, str] = {}


class Layer(msgspec.Struct, frozen=True):
    """One module of the user's model as it stands in a graph, and what was done to it.

    treatment: "kept", "converted" (to 16 bits), "folded" (no node of its own is left), "quantized",
        "pruned".
    """

    module: str
    kind: str
    operators: dict[str, int]
    parameters: int
    treatment: str
    why: str


class Provenance(msgspec.Struct, frozen=True):
    """Where an artifact comes from. `project_digest` covers every file of the project."""

    name: str
    checkpoint_sha256: str
    project_digest: str
    config: dict[str, Any]
    target: str
    versions: dict[str, str]


class Artifact(msgspec.Struct, frozen=True):
    """A model on its way to a bundle. Paths are absolute, in the stage cache.

    boundaries: spec of every source with its named axes, found by running the model.
    graphs, engines, layers: by component name. engines are what this machine verifies with.
    precisions: what a component's graph computes in ("fp16"); one that is not named, in fp32.
    plans, native_engines: of a target with an engine of its own: how a component's is built, and
        what was built; a component may have a plan only, its engine is then built on the device.
    records: stage name -> what it did, as report.json shows it.
    """

    provenance: Provenance
    boundaries: dict[str, TensorSpec] = {}
    graphs: dict[str, str] = {}
    wiring: Wiring | None = None
    substitutes: dict[str, str] = {}
    engines: dict[str, EngineFile] = {}
    precisions: dict[str, str] = {}
    plans: dict[str, EnginePlan] = {}
    native_engines: dict[str, EngineFile] = {}
    layers: dict[str, tuple[Layer, ...]] = {}
    golden: str | None = None
    records: dict[str, Any] = {}

    @property
    def wired(self) -> Wiring:
        """The wiring, of an artifact that has been exported."""
        if self.wiring is None:
            raise ValueError("this artifact is not exported yet")
        return self.wiring

    def precision_of(self, component: str) -> str:
        """What the graph of a component computes in."""
        return self.precisions.get(component, "fp32")

    def with_record(self, stage: str, record: dict[str, Any]) -> Artifact:
        """A copy that also says what `stage` did."""
        plain = msgspec.to_builtins(record, enc_hook=as_plain)
        return msgspec.structs.replace(self, records={**self.records, stage: plain})

    def files(self) -> list[Path]:
        """Every file this artifact stands on."""
        paths = [*self.graphs.values(), *self.substitutes.values()]
        paths += [engine.path for engine in self.engines.values()]
        for engine in self.native_engines.values():
            paths += [engine.path, *engine.plugin_files.values()]
        paths += [self.golden] if self.golden else []
        return [Path(path) for path in paths]


def as_plain(value: Any) -> Any:
    """numpy scalars as numbers, paths as text: for encoding as JSON."""
    return value.item() if hasattr(value, "item") else str(value)


def replace(artifact: Artifact, **changes: Any) -> Artifact:
    """`artifact` with some fields changed."""
    return msgspec.structs.replace(artifact, **changes)
