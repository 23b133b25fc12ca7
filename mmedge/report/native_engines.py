"""The target's own engines: what was built, for which sizes, and what it will take there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmedge.report.quantities import size

NOT_TOLD = "not told"


@dataclass(frozen=True)
class NativeRow:
    """One component. built: the library, its version and the GPU; or where it is built."""

    component: str
    built: str
    file: str
    precision: str
    size: str
    weights: str
    activations: str
    scratch: str
    profiles: tuple[str, ...]


def native_rows(report: dict[str, Any]) -> list[NativeRow]:
    """A row for each component of a target with engines of its own."""
    return [_row(name, item) for name, item in report["native"].items()]


def built_with(item: dict[str, Any]) -> str:
    """ "tensorrt_rtx 1.7.1.116 for 8.6", or that it is built on the device."""
    plan, engine = item["plan"], item["engine"]
    gpu = plan["compute_capability"]
    if engine is None:
        return f"built on the device, by its {plan['library']}"
    return f"{plan['library']} {engine['built_with'].get(plan['library'], '')} for {gpu}"


def missing_plugin(report: dict[str, Any]) -> str | None:
    """What the device has to build before it can run the engines; None where nothing is."""
    for item in report["native"].values():
        plan, engine = item["plan"], item["engine"]
        if plan["plugins"] and not (engine and engine["plugin_files"]):
            gpu = plan["compute_capability"]
            return f"mmedge kernels build --plugin --compute-capability {gpu}"
    return None


def native_size_bytes(report: dict[str, Any]) -> int | None:
    """Size of the target's own engines together; None where there are none, or not all yet."""
    built = [item["engine"] for item in report["native"].values()]
    if not built or None in built:
        return None
    total: int = sum(engine["size_bytes"] for engine in built)
    return total


def _row(name: str, item: dict[str, Any]) -> NativeRow:
    engine, plan = item["engine"], item["plan"]
    memory = engine["memory"] if engine else {}
    weights, activations, scratch = (
        size(memory[key]) if key in memory else NOT_TOLD
        for key in ("weights_bytes", "activations_bytes", "scratch_bytes")
    )
    return NativeRow(
        component=name,
        built=built_with(item),
        file=engine["file"] if engine else "",
        precision=plan["precision"],
        size=size(engine["size_bytes"]) if engine else "not built yet",
        weights=weights,
        activations=activations,
        scratch=scratch,
        profiles=tuple(_profile(profile) for profile in plan["profiles"]),
    )


def _profile(ranges: dict[str, dict[str, int]]) -> str:
    sizes = (f"{axis} {r['min']}:{r['opt']}:{r['max']}" for axis, r in ranges.items())
    return ", ".join(sizes) or "fixed sizes"
