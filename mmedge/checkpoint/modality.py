"""What an argument of forward probably is, from its name: a first guess for the user to check."""

from __future__ import annotations

import re

from mmedge.checkpoint.summary import InputGuess

# First match wins. "sound" before "image" because spectrograms are images of sound.
_RULES = (
    ("indicator", r"^has_|_present$|^is_|available"),
    ("text", r"attention_mask|token_type|position_ids"),
    ("video", r"video"),
    ("audio", r"audio|wave|speech|sound|spectrogram|mel|input_features|input_values"),
    ("image", r"image|pixel|img|photo|picture|vision|rgb|frame"),
    ("text", r"text|token|input_ids|question|sentence|caption|prompt|query|words|ids$|mask$"),
)
IMAGE_PIXELS = 224
MEL_BINS = 80


def guess_modality(name: str, *, dtype: str | None = None) -> str:
    """A modality of mmedge.toml for the argument `name` ("tensor" where nothing is known)."""
    lowered = name.lower()
    found = next((kind for kind, rule in _RULES if re.search(rule, lowered)), "tensor")
    if dtype is not None and found in {"image", "audio"} and dtype.startswith("int"):
        return "tensor"
    return found


def guess_input(name: str, *, channels: int | None = None, optional: bool = False) -> InputGuess:
    """Modality, dtype and shape of the argument `name`; `channels` of images where known."""
    modality = guess_modality(name)
    batch: tuple[int | str, ...] = ("batch",)
    if modality == "image":
        shape, dtype = (*batch, channels or 3, IMAGE_PIXELS, IMAGE_PIXELS), "float32"
    elif modality == "video":
        shape, dtype = (*batch, 8, channels or 3, IMAGE_PIXELS, IMAGE_PIXELS), "float32"
    elif modality == "text":
        shape, dtype = (*batch, "length"), "int64"
    elif modality == "audio" and re.search(r"mel|spectrogram|features", name.lower()):
        shape, dtype = (*batch, MEL_BINS, "frames"), "float32"
    elif modality == "audio":
        shape, dtype = (*batch, "samples"), "float32"
    elif modality == "indicator":
        # An indicator has to say which input it is about, which a name does not tell.
        modality, shape, dtype = "tensor", batch, "float32"
    else:
        shape, dtype = (*batch, "features"), "float32"
    return InputGuess(name, modality, dtype, shape, optional=optional)
