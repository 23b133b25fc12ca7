"""A complete report, as build_report writes it, from plain numbers: no model, no machine."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

MakeReport = Callable[..., dict[str, Any]]


@pytest.fixture
def make_report() -> MakeReport:
    """`complete_report`, for tests that want more than one."""
    return complete_report


@pytest.fixture
def report() -> dict[str, Any]:
    """The report of a two-encoder model that was verified on real data and measured cleanly."""
    return complete_report()


def complete_report(
    *,
    name: str = "vqa",
    components: int = 3,
    speedup: tuple[float, float, float] = (4.2, 4.0, 4.4),
    optional: bool = False,
) -> dict[str, Any]:
    """A report of `components` components: encoders side by side, and one that joins them.

    Each encoder reads one input "input_I" and gives "features"; the last component reads them
    all and gives "logits". With one component it reads the only input itself.
    speedup: value, low and high of the measured speed-up end to end.
    optional: the first input may be absent, and the runs without it were compared.
    """
    encoders = [f"encoder_{i}" for i in range(components - 1)]
    inputs = [f"input_{i}" for i in range(max(1, len(encoders)))]
    sources = [f"{encoder}.features" for encoder in encoders] or inputs
    parts = [
        component(encoder, {"x": source}, "features")
        for encoder, source in zip(encoders, inputs, strict=False)
    ]
    joined = {f"part_{i}": source for i, source in enumerate(sources)}
    parts.append(component("fusion", joined, "logits"))
    return copy.deepcopy(
        {
            "schema": 1,
            "name": name,
            "created": "2026-01-02T03:04:05+00:00",
            "target": target(),
            "provenance": provenance(name),
            "checkpoint": {
                "file": "weights.safetensors",
                "tensors": 2 * components,
                "parameters": 110 * components,
                "size_bytes": 440 * components,
                "dtypes": {"float32": 2 * components},
                "converted": {},
                "notes": [],
            },
            "recipe": "submodules",
            "inputs": [
                {"spec": tensor(source, 8), "modality": "image"} | {"optional": True} * 0
                if not (optional and source == inputs[0])
                else {"spec": tensor(source, 8), "modality": "image", "optional": True}
                for source in inputs
            ],
            "outputs": {"logits": "fusion.logits"},
            "axes": {"batch": {"min": 1, "opt": 1, "max": 64}},
            "generation": None,
            "substitutes": {inputs[0]: [f"zeros stand in for {sources[0]}"]} if optional else {},
            "components": parts,
            "unused_layers": [],
            "verification": verification(parts, absent=inputs[:1] if optional else []),
            "measurement": measurement([part["name"] for part in parts], speedup),
            "stages": [
                {"stage": stage, "seconds": 0.5, "cached": False}
                for stage in ("load", "export", "rewrite", "build", "verify", "measure")
            ],
            "refused": [],
        }
    )
