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


def image_and_text_at_full_length(processor: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    """For text encoders that were trained on padded text."""
    return processor(
        images=[sample.image for sample in samples],
        text=[sample.text for sample in samples],
        padding="max_length",
        truncation=True,
        return_tensors="pt",
    )


def image_alone(processor: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    return processor(images=[sample.image for sample in samples], return_tensors="pt")


def image_and_labels(processor: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    """What to look for in each image."""
    return processor(
        images=[sample.image for sample in samples],
        text=[list(sample.labels) for sample in samples],
        padding=True,
        return_tensors="pt",
    )


def image_and_labels_at_full_length(processor: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    """Every label a row of its own, as long as the model can take."""
    return processor(
        images=[sample.image for sample in samples],
        text=[list(sample.labels) for sample in samples],
        return_tensors="pt",
    )


def page(processor: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    """A document: its picture, its words, and where each stands."""
    return processor(
        [sample.image for sample in samples],
        [sample.words for sample in samples],
        boxes=[sample.boxes for sample in samples],
        padding=True,
        return_tensors="pt",
    )


def audio_and_text(processor: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    return processor(
        audio=[sample.audio for sample in samples],
        text=[sample.text for sample in samples],
        sampling_rate=SAMPLING_RATE,
        padding=True,
        return_tensors="pt",
    )


def clip(processor: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    """Clips of different length, padded to the longest."""
    return processor(
        [sample.audio for sample in samples],
        sampling_rate=SAMPLING_RATE,
        padding=True,
        return_tensors="pt",
    )


def audio_alone(processor: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    """As `clip`, for processors that also take audio as a target."""
    return processor(
        audio=[sample.audio for sample in samples],
        sampling_rate=SAMPLING_RATE,
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
    from transformers import ProcessorMixin

    turns = [
        [
            {
                "role": "user",
                "content": [{"type": "image"}, {"type": "text", "text": sample.text}],
            }
        ]
        for sample in samples
    ]
    # Not the processor's own method: some prepare for videos that nobody sent.
    chat = ProcessorMixin.apply_chat_template
    # Decoders continue at the right end of what they read.
    processor.tokenizer.padding_side = "left"
    return processor(
        images=[[sample.image] for sample in samples],
        text=[chat(processor, turn, add_generation_prompt=True) for turn in turns],
        padding=True,
        return_tensors="pt",
    )
