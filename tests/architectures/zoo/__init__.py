"""Tiny checkpoints of many architectures, as the hub's: weights are random, all else is real.

`build(name, directory)` writes one; `inputs` asks its upstream processor; `reference` runs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from . import (  # noqa: F401  (a module's specimens register as it is imported)
    dual_encoders,
    fusion_encoders,
    speech,
    vision_language,
)
from .generation import NEW_TOKENS
from .samples import Sample, samples
from .specimen import SPECIMENS, Specimen

__all__ = [
    "BUILDERS",
    "NEW_TOKENS",
    "SPECIMENS",
    "Sample",
    "Specimen",
    "batch",
    "build",
    "generates",
    "inputs",
    "load",
    "reference",
    "samples",
]

BUILDERS = {name: partial(Specimen.build, found) for name, found in SPECIMENS.items()}


def build(name: str, directory: Path) -> None:
    """Writes the checkpoint directory of the architecture `name`."""
    SPECIMENS[name].build(directory)


def processor(directory: Path) -> Any:
    """What a user of transformers preprocesses with."""
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(directory)


def load(directory: Path) -> Any:
    """The model, as its class loads it."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(directory)
    kind = getattr(transformers, config.architectures[0])
    return kind.from_pretrained(directory, dtype=torch.float32).eval()


def inputs(
    name: str, directory: Path, of: Sequence[Sample] | None = None
) -> list[dict[str, torch.Tensor]]:
    """What the upstream processor makes of each sample, one request of batch 1 each."""
    asked = processor(directory)
    return [dict(SPECIMENS[name].ask(asked, [sample])) for sample in of or samples()]


def batch(
    name: str, directory: Path, of: Sequence[Sample] | None = None
) -> dict[str, torch.Tensor]:
    """The samples as one padded request."""
    return dict(SPECIMENS[name].ask(processor(directory), list(of or samples())))


def generates(directory: Path) -> bool:
    """Whether the checkpoint's model is one that generates."""
    return (directory / "generation_config.json").is_file()


@torch.no_grad()
def reference(model: Any, feeds: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Eager outputs: greedy tokens where the model generates, else the tensors of its forward."""
    if model.can_generate():
        return {"tokens": model.generate(**feeds, do_sample=False, num_beams=1)}
    found = model(**feeds)
    return {name: value for name, value in found.items() if torch.is_tensor(value)}
