"""Log-mel features of a fixed window: Whisper's."""

from __future__ import annotations

import logging
from typing import ClassVar

import msgspec
import numpy as np

from mmedge.runtime.processors.audio_method import Positive
from mmedge.runtime.processors.spectrogram import log_mel, mel_filters, power_spectrogram
from mmedge.tensors import Array

logger = logging.getLogger(__name__)

DYNAMIC_RANGE = 8.0  # decades below the loudest frame that are kept; Whisper's own constants
HIGHEST_HZ = 8000.0


class LogMel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options of method "log_mel".

    samples: the window's length; a shorter sound is followed by silence, a longer one is cut.
    mask: also make attention_mask, 1 at the frames of the sound.
    """

    tensors: ClassVar[tuple[str, ...]] = ("input_features",)

    sample_rate: Positive
    samples: Positive
    mels: Positive = 80
    window: Positive = 400
    hop: Positive = 160
    padding_value: float = 0.0
    normalise: bool = False
    mask: bool = False
    shortest: Positive = 1

    def convert(self, sounds: list[Array]) -> dict[str, Array]:
        """input_features float32 [batch, mels, frames]; attention_mask int32 [batch, frames]."""
        for sound in sounds:
            if len(sound) > self.samples:
                seconds = self.samples / self.sample_rate
                logger.warning("a sound is cut to the %g s that the model hears at once", seconds)
        features = np.stack([self._features(self._windowed(sound)) for sound in sounds])
        if not self.mask:
            return {"input_features": features}
        lengths = np.array([[min(len(sound), self.samples)] for sound in sounds])
        starts = np.arange(0, self.samples, self.hop)[: features.shape[2]]
        return {
            "input_features": features,
            "attention_mask": (starts < lengths).astype(np.int32),
        }

    def _windowed(self, sound: Array) -> Array:
        cut = sound[: self.samples]
        if self.normalise:
            cut = (cut - cut.mean()) / np.sqrt(cut.var() + 1e-7)
        silence = (0, self.samples - len(cut))
        return np.pad(cut, silence, constant_values=np.float32(self.padding_value))

    def _features(self, samples: Array) -> Array:
        power = power_spectrogram(samples, window=self.window, hop=self.hop)
        filters = mel_filters(
            1 + self.window // 2,
            self.mels,
            lowest=0.0,
            highest=HIGHEST_HZ,
            sample_rate=self.sample_rate,
            scale="slaney",
            normalised=True,
        )
        energies = log_mel(power[:, :-1], filters)
        energies = np.maximum(energies, energies.max() - DYNAMIC_RANGE)
        return np.asarray((energies + 4.0) / 4.0, dtype=np.float32)
