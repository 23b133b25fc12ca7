"""Tiny checkpoints of many architectures, as the hub's: weights are random, all else is real.

`build(name, directory)` writes one; `inputs` asks its upstream processor; `reference` runs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from . import (  # noqa: F401  (a module's specimens register as it is imported)
    audio_decoders,
    blip_family,
    captioners,
    contrastive,
    detection,
    documents,
    dual_encoders,
    fusion_encoders,
    gemma_family,
    idefics_family,
    llava_family,
    one_encoder,
    other_decoders,
    processors,
    qwen_family,
    speech,
)
from .generation import NEW_TOKENS
from .layout import as_before_5
from .samples import Sample, samples
from .specimen import SPECIMENS, Specimen

__all__ = [
    "BUILDERS",
    "NEW_TOKENS",
    "SPECIMENS",
    "Sample",
    "Specimen",
    "as_before_5",
    "batch",
    "build",
    "inputs",
    "load",
    "reference",
    "samples",
    "writes",
]

BUILDERS = {name: partial(Specimen.build, found) for name, found in SPECIMENS.items()}


def build(name: str, directory: Path) -> None:
    """Writes the checkpoint directory of the architecture `name`."""
    SPECIMENS[name].build(directory)


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
    asked = processors.load(directory)
    return [dict(SPECIMENS[name].ask(asked, [sample])) for sample in of or samples()]


def batch(
    name: str, directory: Path, of: Sequence[Sample] | None = None
) -> dict[str, torch.Tensor]:
    """The samples as one padded request."""
    return dict(SPECIMENS[name].ask(processors.load(directory), list(of or samples())))


def writes(model: Any) -> bool:
    """Whether the model generates tokens. Some do so by a method of their own."""
    return callable(getattr(model, "generate", None))


@torch.no_grad()
def reference(model: Any, feeds: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Eager outputs: greedy tokens where the model generates, else the tensors of its forward."""
    if writes(model):
        greedy = {"do_sample": False, "num_beams": 1, "max_new_tokens": NEW_TOKENS}
        return {"tokens": model.generate(**feeds, **greedy)}
    found = model(**feeds)
    # Some return what nobody asked for.
    inner = ("hidden_states", "attentions")
    return dict(tensors((name, value) for name, value in found.items() if name not in inner))


def tensors(found: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors among outputs; those of a tuple are numbered."""
    for name, value in found:
        if torch.is_tensor(value):
            yield name, value
        elif isinstance(value, tuple):
            yield from tensors((f"{name}.{index}", part) for index, part in enumerate(value))
