"""Stage `precision`: graphs that compute in what was asked for, and an account of every node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mmedge.artifact import Artifact, Layer, replace
from mmedge.errors import GraphError
from mmedge.graph.files import load_graph, save_graph
from mmedge.graph.passes.check import check_onnx
from mmedge.graph.passes.convert_precision import Conversion, KeptNodes, convert
from mmedge.graph.precision.decide import Seen
from mmedge.graph.precision.edges import narrow_edges, with_narrow_edges
from mmedge.graph.precision.formats import FORMATS, NarrowFormat
from mmedge.graph.precision.kernels import CPU, without_kernel
from mmedge.graph.precision.ranges import measure_ranges
from mmedge.graph.precision.real_feeds import real_feeds
from mmedge.stage import Workspace

if TYPE_CHECKING:
    import onnx_ir as ir


class Precision:
    """Convert every component's graph to float16 or bfloat16, where that was asked for.

    tf32 is no matter of the graph: it says how products of float32 matrices may be rounded.
    """

    name = "precision"
    requires: tuple[str, ...] = ("rewrite",)
    config_keys: tuple[str, ...] = ("precision", "io_precision", "shapes")
    target_keys: tuple[str, ...] | None = None

    def run(self, artifact: Artifact, workspace: Workspace, directory: Path) -> Artifact:
        """The artifact with converted graphs. Raises GraphError where nothing could convert."""
        asked = workspace.config.precision
        if asked not in FORMATS:
            return artifact.with_record(self.name, {"asked": asked, "components": {}})
        ranges = _ranges(artifact, workspace) if asked == "fp16" else {}
        edges: dict[str, set[str]] = {}
        if asked == "fp16" and workspace.config.io_precision == "same":
            edges = narrow_edges(artifact.wired, ranges, FORMATS[asked])
        graphs, precisions = dict(artifact.graphs), dict(artifact.precisions)
        record: dict[str, Any] = {}
        for name, path in artifact.graphs.items():
            workspace.progress(f"converting {name} to {asked}")
            target = directory / f"{name}.onnx"
            model, done = _convert(
                Path(path), FORMATS[asked], ranges.get(name, {}), edges.get(name, set())
            )
            _check_provable(name, model, FORMATS[asked], workspace)
            save_graph(model, target)
            graphs[name] = str(target)
            precisions[name] = asked if done.nodes else "fp32"
            record[name] = done
        wiring = with_narrow_edges(artifact.wired, edges)
        layers = dict(artifact.layers)
        for name, done in record.items():
            layers[name] = tuple(_treated(layer, done) for layer in layers.get(name, ()))
        artifact = replace(
            artifact, graphs=graphs, precisions=precisions, wiring=wiring, layers=layers
        )
        narrow = {name: sorted(names) for name, names in edges.items() if names}
        facts = {"asked": asked, "components": record, "narrow_edges": narrow}
        return artifact.with_record(self.name, facts)

    def ensures(self, artifact: Artifact) -> None:
        """What was asked for changed something, and the wiring still holds."""
        artifact.wired.check()
        record = artifact.records[self.name]
        found = record["components"]
        if found and not any(done["nodes"] for done in found.values()):
            raise GraphError(
                f"nothing in this model computes in {record['asked']}",
                found="; ".join(sorted({k["why"] for d in found.values() for k in d["kept"]})),
                expected="a component with an operator that converts",
                hint="compile with --precision fp32",
            )


def _treated(layer: Layer, done: Conversion) -> Layer:
    """The layer, with what the conversion made of its operators."""
    left = [kept for kept in done.kept if kept.module == layer.module and kept.operators]
    number = sum(sum(kept.operators.values()) for kept in left)
    if not layer.operators or not done.nodes:
        return layer
    if number >= sum(layer.operators.values()):
        return msgspec.structs.replace(layer, why=f"in float32: {left[0].why}")
    why = f"computes in {done.precision}" + (", but for " + _named(left) if left else "")
    return msgspec.structs.replace(layer, treatment="converted", why=why)


def _named(left: list[KeptNodes]) -> str:
    return ", ".join(sorted({operator for kept in left for operator in kept.operators}))


def _ranges(artifact: Artifact, workspace: Workspace) -> dict[str, dict[str, Seen]]:
    """Component -> value -> what it held on the calibration samples."""
    workspace.progress("running the graphs in float32 to see how large their numbers get")
    feeds = real_feeds(artifact, workspace.calibration, threads=workspace.config.threads)
    return {
        name: measure_ranges(Path(artifact.graphs[name]), given) for name, given in feeds.items()
    }


def _convert(
    path: Path, narrow: NarrowFormat, seen: dict[str, Seen], boundary: set[str]
) -> tuple[ir.Model, Conversion]:
    model = load_graph(path)
    done = convert(model, narrow, seen, boundary=boundary)
    check_onnx(model, where="ConvertPrecision")
    return model, done


def _check_provable(name: str, model: ir.Model, narrow: NarrowFormat, workspace: Workspace) -> None:
    """GraphError where ONNX Runtime could not run the graph that it is to prove."""
    providers = workspace.target.providers or (CPU,)
    if providers != (CPU,):
        return
    missing = without_kernel(model, narrow)
    if missing:
        named = (f"{op} ({len(m)}, as in {_module(m[0])})" for op, m in missing.items())
        raise GraphError(
            f"component {name!r} cannot be verified in {narrow.name} on this machine",
            found=f"ONNX Runtime has no {narrow.dtype.name.lower()} kernel on a CPU for "
            + ", ".join(named),
            expected="kernels for every operator: no engine is built from an unproved graph",
            hint="compile with --precision fp16, or for a target whose provider has them",
        )


def _module(path: str) -> str:
    return repr(path) if path else "the model itself"
