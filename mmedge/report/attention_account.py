"""Every attention of every component: whether one operator computes it, and why not if not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmedge.report.layer_account import WHOLE_MODEL
from mmedge.report.quantities import count, plural


@dataclass(frozen=True)
class AttentionRow:
    """The attentions of a component that were treated alike, by the modules they are from."""

    component: str
    treatment: str
    why: str
    modules: tuple[str, ...]


def attention_rows(report: dict[str, Any]) -> list[AttentionRow]:
    """In the order of the components, those alike in one row."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for part in report["components"]:
        for block in part["rewrite"]["attention"]:
            key = (part["name"], block["treatment"], block["why"])
            alike.setdefault(key, []).append(block["module"] or WHOLE_MODEL)
    return [AttentionRow(*key, tuple(modules)) for key, modules in alike.items()]


def attention_summary(report: dict[str, Any]) -> str:
    """One sentence on all of them, and on the components that have none."""
    blocks = [block for part in report["components"] for block in part["rewrite"]["attention"]]
    if not blocks:
        return "No component has attention."
    fused = sum(block["treatment"] == "fused" for block in blocks)
    without = [part["name"] for part in report["components"] if not part["rewrite"]["attention"]]
    found = f"{count(fused)} of {plural(len(blocks), 'attention')} fused into one operator each."
    return f"{found} None in {', '.join(without)}." if without else found
