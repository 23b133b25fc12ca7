"""Samples through the processor class of transformers itself, where mmedge has none of its own.

The bundle then takes tensors: what makes them is not part of it. That a model can be looked at,
exported and verified on real inputs does not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmedge.data.real_samples import RealSamples, real_samples
from mmedge.optional import require
from mmedge.quiet_upstream import quiet_transformers
from mmedge.tensors import Array

if TYPE_CHECKING:
    from PIL import Image

Tensors = dict[str, Array]
CLASSES = ("AutoProcessor", "AutoImageProcessor", "AutoFeatureExtractor", "AutoTokenizer")


def upstream_tensors(directory: Path) -> Tensors:
    """Two real samples as the checkpoint's processor in transformers makes them, by name.

    Empty where it cannot be loaded or does not take images, texts or sounds in any usual way.
    """
    with quiet_transformers():
        for name in CLASSES:
            processor = _loaded(name, directory)
            tensors = _asked(processor) if processor is not None else {}
            if tensors:
                return tensors
    return {}


def _loaded(name: str, directory: Path) -> Any:
    try:
        found = getattr(require("transformers"), name).from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        )
    except Exception:  # whatever it lacks: a library, a file, a class
        return None
    return found if _has_its_words(found, directory) else None


def _has_its_words(processor: Any, directory: Path) -> bool:
    """Without any of its files, transformers 5 makes up a tokenizer with next to no words."""
    tokenizer = getattr(processor, "tokenizer", processor)
    files = dict(getattr(tokenizer, "vocab_files_names", {})).values()
    return not files or any((directory / file).is_file() for file in files)


def _asked(processor: Any) -> Tensors:
    """The first way of asking that gives tensors."""
    for ask in WAYS:
        try:
            found = dict(ask(processor, real_samples()))
        except Exception:
            continue
        tensors = {name: _array(value) for name, value in found.items() if _is_tensor(value)}
        if tensors and "labels" not in found:
            return tensors
    return {}


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "shape") and len(value.shape) > 0


def _array(value: Any) -> Array:
    array = np.asarray(value)
    if array.dtype == np.int32:
        return array.astype(np.int64)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _images(samples: RealSamples) -> list[Image.Image]:
    image = require("PIL.Image")
    return [image.open(path).convert("RGB") for path in samples.images]


def _conversation(processor: Any, samples: RealSamples) -> Mapping[str, Any]:
    turns = [
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
        for question in samples.questions
    ]
    texts = [processor.apply_chat_template(turn, add_generation_prompt=True) for turn in turns]
    processor.tokenizer.padding_side = "left"
    images = [[image] for image in _images(samples)]
    return dict(processor(images=images, text=texts, padding=True, return_tensors="np"))


def _placeholders(processor: Any, samples: RealSamples) -> Mapping[str, Any]:
    processor.tokenizer.padding_side = "left"
    texts = [f"{processor.image_token} {question}" for question in samples.questions]
    return dict(processor(images=_images(samples), text=texts, padding=True, return_tensors="np"))


def _images_and_texts(processor: Any, samples: RealSamples) -> Mapping[str, Any]:
    texts = list(samples.captions)
    return dict(processor(images=_images(samples), text=texts, padding=True, return_tensors="np"))


def _images_alone(processor: Any, samples: RealSamples) -> Mapping[str, Any]:
    return dict(processor(images=_images(samples), return_tensors="np"))


def _sounds_and_texts(processor: Any, samples: RealSamples) -> Mapping[str, Any]:
    turns = [
        [{"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": question}]}]
        for question in samples.questions
    ]
    texts = [processor.apply_chat_template(turn, add_generation_prompt=True) for turn in turns]
    rate = int(processor.feature_extractor.sampling_rate)
    whole = samples.speech_at(rate)
    processor.tokenizer.padding_side = "left"
    sounds = [whole, whole[len(whole) // 2 :]]
    # Not every processor of sounds makes numpy arrays.
    return dict(
        processor(text=texts, audio=sounds, sampling_rate=rate, padding=True, return_tensors="pt")
    )


def _sounds(processor: Any, samples: RealSamples) -> Mapping[str, Any]:
    extractor = getattr(processor, "feature_extractor", processor)
    rate = int(extractor.sampling_rate)
    whole = samples.speech_at(rate)
    sounds = [whole, whole[len(whole) // 2 :]]
    return dict(processor(sounds, sampling_rate=rate, padding=True, return_tensors="np"))


def _texts(processor: Any, samples: RealSamples) -> Mapping[str, Any]:
    return dict(processor(list(samples.questions), padding=True, return_tensors="np"))


Ask = Callable[[Any, RealSamples], Mapping[str, Any]]
WAYS: tuple[Ask, ...] = (
    _conversation,
    _placeholders,
    _images_and_texts,
    _images_alone,
    _sounds_and_texts,
    _sounds,
    _texts,
)
