"""Log filter banks: of a fixed length (AST), of a sound's own (Speech2Text), stacked (Seamless)."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import numpy as np

from mmedge.runtime.processors.audio_method import Positive
from mmedge.runtime.processors.filter_bank import log_filter_bank
from mmedge.tensors import Array

FRAME, TWO_FRAMES = 400, 560  # samples; the variance of one frame is 0
AS_INTEGERS = 2**15  # what Kaldi takes: the scale of 16-bit samples


class FixedFilterBank(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options of method "fixed_filter_bank".

    frames: a shorter sound is followed by zeros, a longer one is cut. mean, std: of the
    training set; without them the energies stay as they are.
    """

    tensors: ClassVar[tuple[str, ...]] = ("input_values",)

    sample_rate: Positive
    frames: Positive
    mels: Positive = 128
    mean: float | None = None
    std: float | None = None
    shortest: Positive = FRAME

    def convert(self, sounds: list[Array]) -> dict[str, Array]:
        """input_values float32 [batch, frames, mels]."""
        return {"input_values": np.stack([self._one(sound) for sound in sounds])}

    def _one(self, sound: Array) -> Array:
        rate = self.sample_rate
        bank = log_filter_bank(sound, mels=self.mels, sample_rate=rate, shape="hann")
        bank = bank[: self.frames]
        bank = np.pad(bank, ((0, self.frames - len(bank)), (0, 0)))
        if self.mean is not None and self.std is not None:
            bank = (bank - self.mean) / (self.std * 2)
        return bank.astype(np.float32)


class FilterBank(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options of method "filter_bank": each sound's frames, normalised per mel by themselves."""

    tensors: ClassVar[tuple[str, ...]] = ("input_features",)

    sample_rate: Positive
    mels: Positive = 80
    centre: bool = True
    scale: bool = True
    padding_value: float = 0.0
    shortest: Positive = TWO_FRAMES

    def convert(self, sounds: list[Array]) -> dict[str, Array]:
        """input_features float32 [batch, frames, mels], attention_mask int32 [batch, frames]."""
        banks = [self._one(sound) for sound in sounds]
        return padded(banks, longest=max(map(len, banks)), value=self.padding_value)

    def _one(self, sound: Array) -> Array:
        rate, samples = self.sample_rate, sound * np.float32(AS_INTEGERS)
        bank = log_filter_bank(samples, mels=self.mels, sample_rate=rate, shape="povey")
        if self.centre:
            bank = bank - bank.mean(axis=0)
        return bank / bank.std(axis=0) if self.scale else bank


class StackedFilterBank(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Options of method "stacked_filter_bank": `stride` normalised frames become one."""

    tensors: ClassVar[tuple[str, ...]] = ("input_features",)

    sample_rate: Positive
    mels: Positive = 80
    stride: Positive = 2
    padding_value: float = 0.0
    shortest: Positive = TWO_FRAMES

    def convert(self, sounds: list[Array]) -> dict[str, Array]:
        """input_features float32 [batch, frames, stride * mels], attention_mask int32."""
        banks = [self._one(sound) for sound in sounds]
        longest = max(map(len, banks))
        # Upstream pads to an even number of frames, whatever the stride.
        made = padded(banks, longest=longest + longest % 2, value=self.padding_value)
        features, mask = made["input_features"], made["attention_mask"]
        kept = features.shape[1] // self.stride * self.stride
        stacked = features[:, :kept].reshape(len(sounds), kept // self.stride, -1)
        seen = mask[:, :kept][:, np.arange(kept) % self.stride == 1]
        return {"input_features": stacked, "attention_mask": seen}

    def _one(self, sound: Array) -> Array:
        rate, samples = self.sample_rate, sound * np.float32(AS_INTEGERS)
        bank = log_filter_bank(samples, mels=self.mels, sample_rate=rate, shape="povey")
        scaled: Array = (bank - bank.mean(axis=0)) / np.sqrt(bank.var(axis=0, ddof=1) + 1e-7)
        return scaled


def padded(banks: list[Array], *, longest: int, value: float) -> dict[str, Array]:
    """The banks one below the other, and a mask that is 1 at their frames."""
    rows = [
        np.pad(bank, ((0, longest - len(bank)), (0, 0)), constant_values=np.float32(value))
        for bank in banks
    ]
    lengths = np.array([[len(bank)] for bank in banks])
    mask = (np.arange(longest) < lengths).astype(np.int32)
    return {"input_features": np.stack(rows).astype(np.float32), "attention_mask": mask}
