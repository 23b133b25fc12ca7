"""Stage `quantize`: components in integers where that is right and faster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from mmedge.artifact import Artifact, Layer, replace
from mmedge.backends.base import NATIVE_BACKENDS
from mmedge.errors import BuildError, DataError
from mmedge.graph.precision.real_feeds import real_feeds
from mmedge.profiling.machine import watch
from mmedge.quantize.account import KEPT, Treated
from mmedge.quantize.calibrate import constant_inputs
from mmedge.search.component import Component, ComponentSearch
from mmedge.stage import Workspace

ASKED = "int8"
# Of two samples each: ranges want some tens of samples, distances from float32 some more.
CALIBRATION_BATCHES = 64


class Quantize:
    """Quantize every component as the target wants it, and keep what is right and faster.

    On a target whose engines run here, latency decides too; elsewhere only how far the outputs
    moved does, and the record says that nothing was measured.
    """

    name = "quantize"
    requires: tuple[str, ...] = ("precision",)
    config_keys: tuple[str, ...] = ("precision", "threads", "shapes")
    target_keys: tuple[str, ...] | None = None

    def run(self, artifact: Artifact, workspace: Workspace, directory: Path) -> Artifact:
        """The artifact with quantized graphs, where that was asked for.

        Raises DataError where there are no real samples to calibrate and to compare on.
        """
        settings = workspace.target.quantization
        if workspace.config.precision != ASKED or settings is None:
            return artifact.with_record(self.name, {"asked": False, "components": {}})
        _check_real(workspace)
        workspace.progress("running the graphs on calibration samples")
        threads = workspace.config.threads
        feeds = real_feeds(
            artifact, workspace.calibration, threads=threads, batches=CALIBRATION_BATCHES
        )
        measured = workspace.target.backend not in NATIVE_BACKENDS
        graphs, precisions = dict(artifact.graphs), dict(artifact.precisions)
        layers, record = dict(artifact.layers), {}
        with watch() as state:
            for name, path in artifact.graphs.items():
                search = ComponentSearch(
                    name,
                    Path(path),
                    feeds.get(name, []),
                    settings,
                    directory,
                    threads,
                    measured,
                    workspace.progress,
                )
                done = search.run()
                graphs[name] = str(done.graph)
                precisions[name] = artifact.precision_of(name) if done.refused else ASKED
                layers[name] = _with_treatments(layers.get(name, ()), done)
                record[name] = done.to_dict()
        constant = {n: c for n, given in feeds.items() if (c := constant_inputs(given))}
        facts: dict[str, Any] = {
            "asked": True,
            "measured": measured,
            "origin": workspace.calibration.origin,
            "constant_inputs": constant,
            "components": record,
            "dirty": list(state.reasons) if measured else [],
        }
        artifact = replace(artifact, graphs=graphs, precisions=precisions, layers=layers)
        return artifact.with_record(self.name, facts)

    def ensures(self, artifact: Artifact) -> None:
        """What was asked for changed something. Raises BuildError where it did not."""
        record = artifact.records[self.name]
        found = record["components"]
        if record["asked"] and all(done["refused"] for done in found.values()):
            raise BuildError(
                "nothing in this model is better in 8-bit integers",
                found="; ".join(f"{name}: {done['refused']}" for name, done in found.items()),
                expected="a component that is right and faster",
                hint="compile with --precision fp32",
            )


def _check_real(workspace: Workspace) -> None:
    samples = workspace.calibration
    if not samples.real:
        raise DataError(
            "8-bit integers need real samples: ranges of made-up ones say nothing of yours",
            found=samples.origin,
            expected="some tens of samples as the model will meet them",
            hint="declare [data] calibration in mmedge.toml; of a checkpoint directory, --sample",
        )


def _with_treatments(layers: tuple[Layer, ...], done: Component) -> tuple[Layer, ...]:
    """The layers, those with a quantized operator as such."""
    by_module: dict[str, list[Treated]] = {}
    for treated in done.treated:
        by_module.setdefault(treated.module, []).append(treated)
    return tuple(_treated(layer, by_module.get(layer.module, [])) for layer in layers)


def _treated(layer: Layer, operators: list[Treated]) -> Layer:
    """The layer, with what became of its operators that have weights."""
    if not operators and layer.treatment == "kept":
        return msgspec.structs.replace(layer, why="none of its operators is quantized")
    quantized = [t for t in operators if t.treatment != KEPT]
    if quantized:
        return msgspec.structs.replace(layer, treatment="quantized", why=quantized[0].why)
    if operators:
        return msgspec.structs.replace(layer, why=operators[0].why)
    return layer
