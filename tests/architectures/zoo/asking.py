"""How users ask processors: the calls that several architectures share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .samples import SAMPLING_RATE, Sample


def image_and_text(processor: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    return processor(
        images=[sample.image for sample in samples],
        text=[sample.text for sample in samples],
        padding=True,
        return_tensors="pt",
    )


def speech(processor: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    return processor(
        [sample.audio for sample in samples],
        sampling_rate=SAMPLING_RATE,
        return_tensors="pt",
    )


def conversation(processor: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    """One image and one question, laid out by the chat template."""
    turns = [
        [
            {
                "role": "user",
                "content": [{"type": "image"}, {"type": "text", "text": sample.text}],
            }
        ]
        for sample in samples
    ]
    # Decoders continue at the right end of what they read.
    processor.tokenizer.padding_side = "left"
    return processor(
        images=[[sample.image] for sample in samples],
        text=[processor.apply_chat_template(turn, add_generation_prompt=True) for turn in turns],
        padding=True,
        return_tensors="pt",
    )
