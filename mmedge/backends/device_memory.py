"""Whether a target has the memory that its engines will take there."""

from __future__ import annotations

from collections.abc import Mapping

from mmedge.artifact import EngineFile
from mmedge.errors import BuildError
from mmedge.targets import Target

# What an engine holds as long as it is open, as its builder told; scratch is part of activations.
HELD = ("weights_bytes", "activations_bytes")


def check_fits(engines: Mapping[str, EngineFile], target: Target) -> None:
    """BuildError where the engines, open together, take more memory than the device has.

    Nothing is checked where the builder did not tell, or the target's memory is not known.
    """
    fact = target.facts.get("memory_bytes")
    if fact is None or not isinstance(fact.value, int | float):
        return
    needs = {name: sum(file.memory.get(kind, 0) for kind in HELD) for name, file in engines.items()}
    if sum(needs.values()) <= fact.value:
        return
    largest = max(needs, key=lambda name: needs[name])
    activations = engines[largest].memory.get("activations_bytes", 0)
    raise BuildError(
        f"the engines take more memory than {target.title} has",
        found=", ".join(f"{name} {need / 1e9:.1f} GB" for name, need in needs.items()),
        expected=f"{fact.value / 1e9:.1f} GB together ({fact.source})",
        hint=f"{activations / 1e9:.1f} GB of {largest!r} are activations at the largest sizes: "
        "give smaller ones, --shape AXIS=MIN:OPT:MAX",
    )
