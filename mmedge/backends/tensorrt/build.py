"""One ONNX graph to one serialized engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmedge.backends.tensorrt.builder_config import Settings, builder_config
from mmedge.backends.tensorrt.monitor import make_monitor
from mmedge.backends.tensorrt.plugins import check_taken
from mmedge.backends.tensorrt.timing_cache import keep_timings
from mmedge.engine_plan import Range
from mmedge.errors import BuildError
from mmedge.readable_bytes import readable_bytes
from mmedge.runtime.tensorrt.library import TensorRT
from mmedge.tensors import TensorSpec

Progress = Callable[[str], None]
# As many complaints of the parser as a person reads.
MOST_COMPLAINTS = 12


@dataclass(frozen=True)
class BuiltEngine:
    """A serialized engine, and what TensorRT said of the memory it will take, in bytes by use."""

    data: bytes
    memory: dict[str, int]


def build_engine(
    library: TensorRT,
    graph: Path,
    inputs: Sequence[TensorSpec],
    profiles: Sequence[Mapping[str, Range]],
    *,
    settings: Settings,
    label: str,
    plugins: Sequence[str] = (),
    progress: Progress = lambda _line: None,
) -> BuiltEngine:
    """The engine of the graph at `graph`.

    inputs: the graph's inputs with their named axes. profiles: by axis, the sizes that the engine
    takes; one mapping for each optimization profile. plugins: registered, and to be used.
    Raises BuildError with every complaint of the parser, or with what the builder said.
    """
    library.logger.kept.clear()
    builder = library.builder()
    network = library.network(builder)
    _parse(library, network, graph, label)
    check_taken(network, library.module, plugins)
    _decompose_attention(library.module, network)
    dynamic = any(spec.dynamic_axes for spec in inputs)
    config = builder_config(library, builder, settings)
    for ranges in profiles if dynamic else ():
        config.add_optimization_profile(_profile(builder, inputs, ranges))
    monitor = make_monitor(library.module, label, progress)
    config.progress_monitor = monitor
    engine = builder.build_serialized_network(network, config)
    if monitor.interrupted is not None:
        raise monitor.interrupted
    if engine is None:
        raise BuildError(
            f"{library.name} {library.version} could not build {label!r}",
            found="\n".join(library.logger.kept.errors()[:MOST_COMPLAINTS]) or "no reason given",
            where=graph,
            hint=None
            if settings.workspace_bytes is None
            else f"a larger --workspace than {readable_bytes(settings.workspace_bytes)}, or none",
        )
    monitor.finished()
    if settings.timings is not None:
        keep_timings(config, settings.timings)
    return BuiltEngine(bytes(engine), library.logger.kept.sizes())


def _parse(library: TensorRT, network: Any, graph: Path, label: str) -> None:
    """Read the graph into `network`; all that the parser refuses is told at once."""
    parser = library.module.OnnxParser(network, library.logger)
    # By its path: external weights lie beside it.
    if parser.parse_from_file(str(graph)):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    complaints = [f"{_where(error)}{error.desc()}" for error in errors]
    raise BuildError(
        f"{library.name} {library.version} does not take the graph of {label!r}",
        found="\n".join(complaints[:MOST_COMPLAINTS]) or "no reason given",
        where=graph,
    )


def _where(error: Any) -> str:
    operator = getattr(error, "node_operator", lambda: "")()
    named = " ".join(part for part in (operator, error.node_name()) if part)
    return f"{named}: " if named else ""


def _decompose_attention(module: Any, network: Any) -> None:
    """Let attention that no fused kernel takes (float32) be made of its parts."""
    kind = getattr(module.LayerType, "ATTENTION_OUTPUT", None)
    if kind is None:  # before TensorRT had attention, the graph is made of the parts already
        return
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == kind:
            layer.__class__ = module.IAttentionOutputLayer
            layer.attention.decomposable = True


def _profile(builder: Any, inputs: Sequence[TensorSpec], ranges: Mapping[str, Range]) -> Any:
    """An optimization profile: the smallest, the best and the largest shape of each input."""
    profile = builder.create_optimization_profile()
    for spec in inputs:
        if not spec.dynamic_axes:
            continue
        shapes = [
            tuple(dim if isinstance(dim, int) else getattr(ranges[dim], end) for dim in spec.shape)
            for end in ("min", "opt", "max")
        ]
        profile.set_shape(spec.name, *shapes)
    return profile
