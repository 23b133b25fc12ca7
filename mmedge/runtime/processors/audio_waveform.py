"""The samples themselves, with zero mean and unit variance. (Wav2Vec2, SEW, HuBERT.)"""

from __future__ import annotations

from typing import ClassVar

import msgspec
import numpy as np

from mmedge.runtime.processors.audio_method import Positive
from mmedge.tensors import Array


class Waveform(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options of method "waveform".

    normalise: each sound by itself. mask: also make attention_mask. shortest: samples that the
        model's first convolutions need.
    """

    tensors: ClassVar[tuple[str, ...]] = ("input_values",)

    sample_rate: Positive
    normalise: bool = True
    padding_value: float = 0.0
    mask: bool = False
    shortest: Positive = 1

    def convert(self, sounds: list[Array]) -> dict[str, Array]:
        """input_values float32 [batch, samples], padded to the longest; attention_mask int32.

        Without a mask, upstream normalises a padded sound together with its padding.
        """
        longest = max(len(sound) for sound in sounds)
        rows = [self._row(sound, longest) for sound in sounds]
        tensors = {"input_values": np.stack(rows).astype(np.float32)}
        if self.mask:
            lengths = np.array([[len(sound)] for sound in sounds])
            tensors["attention_mask"] = (np.arange(longest) < lengths).astype(np.int32)
        return tensors

    def _row(self, sound: Array, longest: int) -> Array:
        padding = (0, longest - len(sound))
        value = np.float32(self.padding_value)
        if not self.normalise:
            return np.pad(sound, padding, constant_values=value)
        if self.mask:
            return np.pad(_normalised(sound), padding, constant_values=value)
        return _normalised(np.pad(sound, padding, constant_values=value))


def _normalised(sound: Array) -> Array:
    centred: Array = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
    return centred
