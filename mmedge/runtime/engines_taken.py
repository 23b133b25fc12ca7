"""Which engine each component of an open bundle runs on, and why not on a better one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from mmedge.runtime.bundle import Bundle


def engines_taken(bundle: Bundle) -> dict[str, Any]:
    """`engines`: component -> kind; `passed_over`: component -> the better engines, if any."""
    passed = {name: engines for name, engines in bundle.passed_over.items() if engines}
    return {
        "engines": {name: engine.kind for name, engine in bundle.chosen.items()},
        "passed_over": msgspec.to_builtins(passed),
    }


def sentences(taken: Mapping[str, Any]) -> list[str]:
    """A line for each reason for which a better engine was not taken; components are together."""
    alike: dict[tuple[str, str, str, str | None], dict[str, None]] = {}
    for component, engines in taken["passed_over"].items():
        for engine in engines:
            key = (taken["engines"][component], engine["kind"], engine["why"], engine["hint"])
            alike.setdefault(key, {})[component] = None  # once, of engines for several GPUs
    return [
        f"{', '.join(components)}: on {kind}, not on {better}: {why}"
        + (f"; {hint}" if hint else "")
        for (kind, better, why, hint), components in alike.items()
    ]
