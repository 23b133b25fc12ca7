"""Every attention of every component: whether one operator computes it, and why not if not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmedge.report.layer_account import WHOLE_MODEL
from mmedge.report.quantities import count, plural

# As `mmedge.graph.rules.standard_attention` names its form.
ONE_OPERATOR = "Attention operator"


@dataclass(frozen=True)
class AttentionRow:
    """The attentions of a component that were treated alike, by the modules they are from.

    treatment: "fused" into one operator of ONNX or "left" as the model's operators; of a target
        with engines of its own "plugin" (our kernel), "builtin" (the library's), or "left".
    form: how the graph had it, where the treatment does not say so; else "".
    """

    component: str
    treatment: str
    why: str
    modules: tuple[str, ...]
    form: str = ""


def attention_rows(report: dict[str, Any]) -> list[AttentionRow]:
    """In the order of the components, those alike in one row."""
    alike: dict[tuple[str, str, str, str], list[str]] = {}
    for part in report["components"]:
        for block in _blocks(part):
            key = (part["name"], block["treatment"], block["why"], block.get("form", ""))
            alike.setdefault(key, []).append(block["module"] or WHOLE_MODEL)
    return [
        AttentionRow(name, treatment, why, tuple(modules), form)
        for (name, treatment, why, form), modules in alike.items()
    ]


def _blocks(part: dict[str, Any]) -> list[dict[str, str]]:
    """Of a component: what was chosen for the target's engine, else what the passes made."""
    chosen = part.get("attention")
    if not chosen:
        return list(part["rewrite"]["attention"])
    return [
        {**block, "treatment": block["became"], "why": f"{block['form']}; {block['why']}"}
        for block in chosen
    ]


def attention_summary(report: dict[str, Any]) -> str:
    """One sentence on all of them, and on the components that have none."""
    blocks = [block for part in report["components"] for block in _blocks(part)]
    if not blocks:
        return "No component has attention."
    fused = sum(_is_fused(block) for block in blocks)
    ours = sum(block["treatment"] == "plugin" for block in blocks)
    without = [part["name"] for part in report["components"] if not _blocks(part)]
    found = f"{count(fused)} of {plural(len(blocks), 'attention')} fused into one operator each."
    found += f" {count(ours)} by the plugin." if ours else ""
    return f"{found} None in {', '.join(without)}." if without else found


def _is_fused(block: dict[str, str]) -> bool:
    """Whether one operator computes it, ours or ONNX's own."""
    own = block["treatment"] == "builtin" and block["form"] == ONE_OPERATOR
    return own or block["treatment"] in ("fused", "plugin")
