"""How an engine of a component is built from its graph, on this machine or on the device later."""

from __future__ import annotations

import hashlib

import msgspec


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes of one axis: the engine is best at `opt` and takes `min` to `max`."""

    min: int
    opt: int
    max: int

    def __str__(self) -> str:
        return f"{self.min}:{self.opt}:{self.max}"


class BuildOptions(msgspec.Struct, frozen=True):
    """What a user may say of the building of engines.

    shapes: axis -> "min:opt:max", several with commas between them (`mmedge.axis_shapes`).
    tf32: whether products of float32 matrices may round their inputs to 10 bits of mantissa.
    optimization_level, workspace_bytes: as in `EnginePlan`.
    profiles: by component, those that an earlier plan has; they are taken as they are, and
        `shapes` is empty.
    """

    shapes: dict[str, str] = {}
    tf32: bool = False
    optimization_level: int | None = None
    workspace_bytes: int | None = None
    profiles: dict[str, tuple[dict[str, Range], ...]] = {}


class EnginePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that a builder needs besides the graph and its inputs.

    kind: of the engine, as `mmedge.runtime.runner` knows it ("tensorrt").
    library: what builds it and runs it: "tensorrt" or "tensorrt_rtx".
    compute_capability: of the GPU it is for ("8.6"); None: of the machine that builds it.
    profiles: by axis name, the sizes that it takes; one mapping for each optimization profile.
    optimization_level: 0 (fast to build) to 5 (fast to run); None for the library's own.
    workspace_bytes: the most scratch memory that a layer may have; None for no limit.
    plugins: the operators of our own that the graph has, "domain::name:version" each; whoever
        builds the engine or opens it registers their kernels first.
    """

    kind: str
    library: str
    precision: str
    profiles: tuple[dict[str, Range], ...]
    compute_capability: str | None = None
    optimization_level: int | None = None
    workspace_bytes: int | None = None
    plugins: tuple[str, ...] = ()

    def digest(self) -> str:
        """What tells engines of two plans apart."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()
