"""Goals of the attention kernels, as ratios within one run, and whether a case met them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from attention_floor import Floor


class Goal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`against` contenders (the fastest of them counts), or a share `of` a floor."""

    cases: str
    at_least: float
    against: tuple[str, ...] = ()
    of: str | None = None


def read_goals(path: Path) -> tuple[Goal, ...]:
    """The goals of a file of cases."""
    return msgspec.convert(msgspec.toml.decode(path.read_bytes()).get("goal", []), tuple[Goal, ...])


def judged(
    group: str, goals: tuple[Goal, ...], p50_ms: dict[str, float], least: Floor
) -> list[dict[str, Any]]:
    """What became of each goal of a group; a goal whose contenders all refused is left out."""
    ours = p50_ms["mmedge"]
    rows = []
    for goal in (g for g in goals if g.cases == group):
        if goal.of is not None:
            what, found = f"share of the floor of {goal.of}", _floor_ms(least, goal.of) / ours
        else:
            ran = [p50_ms[name] for name in goal.against if name in p50_ms]
            if not ran:
                continue
            what, found = f"times faster than {' or '.join(goal.against)}", min(ran) / ours
        rows.append(
            {"what": what, "found": found, "wanted": goal.at_least, "met": found >= goal.at_least}
        )
    return rows


def _floor_ms(least: Floor, resource: str) -> float:
    return float(getattr(least, f"{resource}_ms"))
