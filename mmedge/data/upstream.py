"""Samples through the processor class of transformers itself, where mmedge has none of its own.

The bundle then takes tensors: what makes them is not part of it. That a model can be looked at,
exported and verified on real inputs does not depend on it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmedge.data.films import film_over, frames_of
from mmedge.data.real_samples import RealSamples, real_samples
from mmedge.data.upstream_bounds import check_picture_sizes
from mmedge.data.upstream_processor import upstream_processors
from mmedge.optional import require
from mmedge.quiet_upstream import quiet_transformers
from mmedge.tensors import Array

if TYPE_CHECKING:
    from PIL import Image

Tensors = dict[str, Array]
Ask = Callable[[Any, RealSamples], Mapping[str, Any]]
# How to ask, and for which modalities.
Way = tuple[Ask, tuple[str, ...]]
IMAGE_AND_TEXT = ("image", "text")
# The tensors that carry a modality: without one of them, it was not heard.
CARRIES = {
    "image": {"pixel_values", "flattened_patches"},
    "audio": {"input_features", "input_values"},
    "text": {"input_ids", "decoder_input_ids"},
}


@dataclass(frozen=True)
class UpstreamSamples:
    """Two real samples as the checkpoint's processor in transformers makes them.

    tensors: by name, [2, ...]. flat: those of which upstream has the rows of all samples in a
    row (the tiles of all images); here each sample has its own.
    """

    tensors: Tensors
    flat: tuple[str, ...] = ()


def upstream_samples(directory: Path) -> UpstreamSamples:
    """Empty where the processor cannot be loaded or is not to be asked in any usual way.

    Raises CheckpointError where its files ask for what no memory would hold.
    """
    ways = (*_film_ways(directory), *WAYS)
    with quiet_transformers():
        for processor in upstream_processors(directory):
            check_picture_sizes(processor, directory)
            if tensors := _asked(processor, ways):
                return _by_sample(tensors)
    return UpstreamSamples({})


def upstream_tensors(directory: Path) -> Tensors:
    """Two real samples by name, each tensor [2, ...]; none where there are none."""
    return upstream_samples(directory).tensors


def _by_sample(tensors: Tensors) -> UpstreamSamples:
    count = len(real_samples().questions)
    flat = [name for name, t in tensors.items() if len(t) != count and len(t) % count == 0]
    made = {
        name: t.reshape(count, -1, *t.shape[1:]) if name in flat else t
        for name, t in tensors.items()
    }
    return UpstreamSamples(made, tuple(flat))


def _film_ways(directory: Path) -> tuple[Way, ...]:
    """How a model is asked whose config says that it takes films."""
    stored = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    frames = frames_of(stored)
    return () if frames is None else ((partial(_films_and_texts, frames=frames), IMAGE_AND_TEXT),)


def _asked(processor: Any, ways: Iterable[Way]) -> Tensors:
    """The first way of asking that gives tensors of all that was asked about."""
    for ask, modalities in ways:
        try:
            found = dict(ask(processor, real_samples()))
        except Exception:
            continue
        tensors = {name: _array(value) for name, value in found.items() if _is_tensor(value)}
        # The text as an answer to learn: beside its ids it is a copy, without them there is none.
        if tensors.pop("labels", None) is not None and "input_ids" not in tensors:
            continue
        heard = all(tensors.keys() & CARRIES[modality] for modality in modalities)
        if heard and _counted(tensors) and _placed(processor, tensors):
            return tensors
    return {}


def _counted(tensors: Tensors) -> bool:
    """Whether each tensor has as many rows for every sample: two pictures are no film of two."""
    count = len(real_samples().questions)
    return all(len(tensor) % count == 0 for tensor in tensors.values())


def _placed(processor: Any, tensors: Tensors) -> bool:
    """Whether the text has a place for what the model is to find there."""
    if not {"input_ids", "pixel_values"} <= tensors.keys():
        return True
    token, words = getattr(processor, "image_token", None), getattr(processor, "tokenizer", None)
    if token is None or words is None:
        return True
    own = words.convert_tokens_to_ids(str(token))
    # What is asked for by one token may be written as another.
    places = [own, getattr(processor, "image_token_id", own)]
    return bool(np.isin(tensors["input_ids"], places).any())


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


def _films_and_texts(processor: Any, samples: RealSamples, *, frames: int) -> Mapping[str, Any]:
    films = [film_over(image, frames) for image in _images(samples)]
    texts = list(samples.captions)
    return dict(processor(images=films, text=texts, padding=True, return_tensors="np"))


def _pages(processor: Any, samples: RealSamples) -> Mapping[str, Any]:
    """A question about a page whose words an OCR engine found; nothing where boxes are ignored."""
    images, questions = _images(samples), list(samples.questions)
    words, boxes = ([list(part)] * len(images) for part in (samples.words, samples.boxes))
    made = processor(
        images=images, text=questions, text_pair=words, boxes=boxes, padding=True,
        return_tensors="np",
    )  # fmt: skip
    return dict(made) if "bbox" in made else {}


def _images_and_labels(processor: Any, samples: RealSamples) -> Mapping[str, Any]:
    """Several texts with each image; nothing of a processor that does not take them for several."""
    texts = [list(labels) for labels in samples.labels]
    # Without `padding`: such a processor pads to what the model has positions for.
    made = dict(processor(images=_images(samples), text=texts, return_tensors="np"))
    return made if len(made["input_ids"]) == sum(map(len, texts)) else {}


def _patches(processor: Any, samples: RealSamples) -> Mapping[str, Any]:
    """As many patches as the image processor's file says; upstream's default is another number."""
    options = {"images": _images(samples), "max_patches": processor.image_processor.max_patches}
    if processor.image_processor.is_vqa:
        options["text"] = list(samples.questions)
    return dict(processor(**options, return_tensors="np"))


def _images_alone(processor: Any, samples: RealSamples) -> Mapping[str, Any]:
    try:
        return dict(processor(images=_images(samples), return_tensors="np"))
    except AttributeError:  # not every processor of images makes numpy arrays (ColPali)
        return dict(processor(images=_images(samples), return_tensors="pt"))


def _sounds_and_texts(processor: Any, samples: RealSamples) -> Mapping[str, Any]:
    turns = [
        [{"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": question}]}]
        for question in samples.questions
    ]
    texts = [processor.apply_chat_template(turn, add_generation_prompt=True) for turn in turns]
    rate = int(processor.feature_extractor.sampling_rate)
    # A longer sound is several, of which the second sample would have fewer.
    longest = getattr(processor.feature_extractor, "n_samples", None)
    whole = samples.speech_at(rate)[:longest]
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


WAYS: tuple[Way, ...] = (
    (_patches, ("image",)),
    (_conversation, IMAGE_AND_TEXT),
    (_pages, IMAGE_AND_TEXT),
    (_images_and_labels, IMAGE_AND_TEXT),
    (_images_and_texts, IMAGE_AND_TEXT),
    (_placeholders, IMAGE_AND_TEXT),
    (_images_alone, ("image",)),
    (_sounds_and_texts, ("audio", "text")),
    (_sounds, ("audio",)),
    (_texts, ("text",)),
)
