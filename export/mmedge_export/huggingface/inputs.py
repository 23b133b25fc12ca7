"""The inputs of an architecture, from one real sample: which axes of a tensor may vary.

What an axis means follows from the tensor's name, which is the same in all of transformers.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from mmedge.project import InputTable
from mmedge.recipes import CheckpointView
from mmedge.tensors import Array, Axis, Dim
from mmedge_export.huggingface.shortest_sound import shortest_sound

BATCH, LENGTH = "batch", "length"
# A name in an axis' place: it may vary. None: the sample's own size, always.
_TEXT: tuple[str | None, ...] = (BATCH, LENGTH)
_IMAGE: tuple[str | None, ...] = (BATCH, None, None, None)
_IMAGES: tuple[str | None, ...] = (BATCH, "images", None, None, None)
_AXES: dict[tuple[str, int], tuple[str | None, ...]] = {
    ("input_ids", 2): _TEXT,
    ("attention_mask", 2): _TEXT,
    ("token_type_ids", 2): _TEXT,
    ("mm_token_type_ids", 2): _TEXT,
    ("decoder_input_ids", 2): (BATCH, "decoder_length"),
    ("input_ids", 3): (BATCH, "queries", LENGTH),
    ("attention_mask", 3): (BATCH, "queries", LENGTH),
    ("bbox", 3): (BATCH, LENGTH, None),
    ("pixel_values", 3): (BATCH, "patches", None),
    ("pixel_values", 4): _IMAGE,
    ("pixel_values", 5): _IMAGES,
    ("pixel_values", 6): (BATCH, "images", "tiles", None, None, None),
    ("pixel_mask", 3): (BATCH, None, None),
    ("pixel_attention_mask", 2): (BATCH, "patches"),
    ("pixel_attention_mask", 4): (BATCH, "images", None, None),
    ("image_grid_thw", 3): (BATCH, "images", None),
    ("image_sizes", 3): (BATCH, "images", None),
    ("flattened_patches", 3): (BATCH, None, None),
    ("input_features", 3): (BATCH, None, None),
    ("input_features", 4): _IMAGE,
    ("input_values", 2): (BATCH, "samples"),
    ("visual_feats", 3): (BATCH, "regions", None),
    ("visual_pos", 3): (BATCH, "regions", None),
}
_MODALITIES = (
    ("image", ("pixel", "image", "visual", "flattened_patches", "spatial_shapes")),
    ("audio", ("input_features", "input_values", "audio", "is_longer")),
    ("text", ("input_ids", "mask", "token_type", "bbox", "decoder")),
)
# What a config has for a modality that the model takes.
_CONFIGS = {"vision_config": "image", "audio_config": "audio"}
# Of each modality, the tensor without which there is nothing of it.
_TENSORS = {
    "image": {"pixel_values", "flattened_patches"},
    "audio": {"input_features", "input_values"},
    "text": {"input_ids"},
}
# What an attention mask is about where there is no text.
MASKED = ("input_values", "input_features", "flattened_patches")
# Made outside of the model and its processor: the axis that varies, and what the config calls
# the last one's size.
_BY_CONFIG = {
    "visual_feats": ("regions", "visual_feat_dim"),
    "visual_pos": ("regions", "visual_pos_dim"),
    "visual_embeds": ("regions", "visual_embedding_dim"),
    "bbox": (LENGTH, "dim_bbox"),
}
# Boxes as whole numbers, of models that look them up in a table of so many places.
_BOX, _PLACES = ("bbox", 4), "max_2d_position_embeddings"
# The range of an axis, where the config does not bound it: (smallest, largest).
_RANGES = {
    BATCH: (1, 64),
    "text_batch": (1, 256),
    "images": (1, 16),
    # The whole image and one part of it at least.
    "tiles": (2, 64),
    "queries": (1, 64),
    "patches": (4, 65536),
    "regions": (1, 256),
    # A second of sound at 16 kHz is 16,000 samples: from a twentieth of one to a minute.
    "samples": (800, 960_000),
}
# The size of an axis of which there is no sample.
TYPICAL = 36
# Of a picture's edges: how many pixels at least, and how often the shorter goes into the longer.
SMALLEST_EDGE, LONGEST = 32, 2
# What a text may be long where the config does not say.
DEFAULT_LENGTH = 512


def tables_of(
    view: CheckpointView, names: Iterable[str]
) -> tuple[dict[str, InputTable], dict[str, Axis]]:
    """[inputs] and [axes] for those of the sample's tensors that are in `names`, in its order.

    What no processor makes (the regions an object detector found) has the size the config says.
    """
    wanted = set(names)
    taken = {name: array for name, array in view.sample.items() if name in wanted}
    image: Any = view.processor.get("image") or {}
    vision = getattr(view.config, "vision_config", view.config)
    frames = getattr(vision, "num_frames", None)
    # Without a divisor of their edges pictures are padded to one size; a crop has one too.
    fixed = not image.get("divisor") or bool(image.get("crop"))
    inputs = {
        name: InputTable(
            shape=_film(array, frames) or _shape(name, taken, fixed=fixed),
            dtype=str(array.dtype),
            modality=modality_of(name),
        )
        for name, array in taken.items()
    }
    for name, (axis, field) in _BY_CONFIG.items():
        if name in wanted - inputs.keys() and hasattr(view.config, field):
            shape = (BATCH, axis, int(getattr(view.config, field)))
            inputs[name] = InputTable(shape=shape, modality=modality_of(name))
    box, width = _BOX
    if box in wanted - inputs.keys() and hasattr(view.config, _PLACES):
        inputs[box] = InputTable((BATCH, LENGTH, width), "int64", modality=modality_of(box))
    return inputs, axes_of(view, inputs)


def named_shape(name: str, array: Array) -> tuple[Dim, ...]:
    """The tensor's shape, with names for the axes that may vary; the first is the batch."""
    pattern = _AXES.get((name, array.ndim), (BATCH, *[None] * (array.ndim - 1)))
    return tuple(
        axis if axis is not None else int(size)
        for axis, size in zip(pattern, array.shape, strict=True)
    )


def _film(array: Array, frames: int | None) -> tuple[Dim, ...] | None:
    """The shape of films, whose frames the model has a place for each; None of anything else."""
    is_film = array.ndim == len(_IMAGES) and array.shape[1] == frames
    return (BATCH, *map(int, array.shape[1:])) if is_film else None


def _shape(name: str, taken: Mapping[str, Array], *, fixed: bool) -> tuple[Dim, ...]:
    """The named shape; a mask has the axis of what it masks. fixed: pictures have one size."""
    own_sizes = {"pixel_mask", "image_sizes"} & taken.keys()
    if name in ("pixel_values", "pixel_mask") and own_sizes and not fixed:
        # Pictures of their own sizes, and what says how much of a tensor is picture.
        return (*named_shape(name, taken[name])[:-2], "height", "width")
    if name != "attention_mask" or "input_ids" in taken:
        return named_shape(name, taken[name])
    length = taken[name].shape[1]
    for masked in MASKED:
        if masked in taken and length in taken[masked].shape[1:]:
            shape = named_shape(masked, taken[masked])
            return BATCH, shape[1 + taken[masked].shape[1:].index(length)]
    return BATCH, int(length)


def modality_of(name: str) -> str:
    """The modality a tensor of this name carries; masks belong to what they mask."""
    for modality, parts in _MODALITIES:
        if any(part in name for part in parts):
            return modality
    return "tensor"


def unseen_modalities(view: CheckpointView, inputs: Iterable[str]) -> list[str]:
    """What the config says the model takes, besides text, and none of the inputs carries."""
    seen = {modality_of(name) for name in inputs}
    return [
        modality
        for field, modality in _CONFIGS.items()
        if getattr(view.config, field, None) and modality not in seen
    ]


def axes_of(view: CheckpointView, inputs: dict[str, InputTable]) -> dict[str, Axis]:
    """The range of every named axis; `opt` is what the sample has."""
    found: dict[str, Axis] = {}
    for name, table in inputs.items():
        sizes = view.sample[name].shape if name in view.sample else [TYPICAL] * len(table.shape)
        for size, dim in zip(sizes, table.shape, strict=True):
            if isinstance(dim, str) and dim not in found:
                found[dim] = _axis(dim, int(size), view)
    return found


def _axis(name: str, size: int, view: CheckpointView) -> Axis:
    if name in ("height", "width"):
        return _edge(size, view)
    low, high = _range(name, view)
    return Axis(low, max(low, min(size, high)), high)


def _edge(size: int, view: CheckpointView) -> Axis:
    """The edge of a picture that keeps its shape: what the processor lets it be."""
    image: Any = view.processor.get("image") or {}
    step = int(image.get("divisor") or 1)
    limits = dict(image.get("size") or {})
    longest = limits.get("longest_edge") or LONGEST * int(limits.get("shortest_edge") or size)
    high = max(size, -(-int(longest) // step) * step)
    low = -(-SMALLEST_EDGE // step) * step
    return Axis(min(size, low), size, high, step)


def _range(axis: str, view: CheckpointView) -> tuple[int, int]:
    if axis in (LENGTH, "decoder_length"):
        # torch.export takes a size of one for a constant; a text has two tokens at least.
        return 2, max(2, longest_text(view))
    if axis == "samples":
        return shortest_sound(view, between=_RANGES[axis]), _RANGES[axis][1]
    return _RANGES[axis]


def longest_text(view: CheckpointView) -> int:
    """How many tokens a text may have, by the config and by the tokenizer."""
    text = view.config.get_text_config()
    limits = [getattr(text, name, None) for name in ("max_position_embeddings", "n_positions")]
    limits.append(dict(view.processor.get("text") or {}).get("max_length"))
    known = [int(limit) for limit in limits if limit]
    return min(known) if known else DEFAULT_LENGTH


def missing_modalities(model_class: type[Any], inputs: Iterable[str]) -> list[str]:
    """What the class says that it takes, and forward has an argument for, and nobody makes."""
    names, given = forward_names(model_class), set(inputs)
    said = getattr(model_class, "input_modalities", ())
    said = (said,) if isinstance(said, str) else said
    return [
        modality
        for modality, tensors in _TENSORS.items()
        if modality in said and names & tensors and not given & tensors
    ]


def texts_apart(inputs: Mapping[str, InputTable]) -> dict[str, InputTable]:
    """The inputs, with texts counted by themselves: there may be more or fewer than the others."""
    return {
        name: table
        if modality_of(name) != "text"
        else msgspec.structs.replace(table, shape=("text_batch", *table.shape[1:]))
        for name, table in inputs.items()
    }


def output_fields(model_class: type[Any]) -> set[str]:
    """Fields of the ModelOutput that forward is annotated to return."""
    annotation = str(inspect.signature(model_class.forward).return_annotation)
    module = sys.modules[model_class.__module__]
    kinds = [getattr(module, word, None) for word in re.findall(r"\w+", annotation)]
    return {name for kind in kinds for name in getattr(kind, "__dataclass_fields__", ())}


def forward_names(model_class: type[Any]) -> set[str]:
    """Names of forward's arguments."""
    return set(inspect.signature(model_class.forward).parameters)
