"""Log-mel features of ten seconds, repeated or cropped to fill them: CLAP's.

Where upstream draws a crop at random, the middle one is taken: one of those it may draw, and
the same in every run.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec
import numpy as np

from mmedge.runtime.processors.audio_method import Positive
from mmedge.runtime.processors.spectrogram import log_mel, mel_filters, power_spectrogram
from mmedge.tensors import Array


class ClapMel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options of method "clap_mel".

    samples: what the model hears. truncation: a longer sound is cropped, or becomes the whole of
        it shrunk and three crops ("fusion"). padding: how a shorter one is filled up.
    """

    tensors: ClassVar[tuple[str, ...]] = ("input_features", "is_longer")

    sample_rate: Positive
    samples: Positive
    mels: Positive = 64
    window: Positive = 1024
    hop: Positive = 480
    lowest: float = 0.0
    highest: float = 14_000.0
    truncation: Literal["fusion", "rand_trunc"] = "fusion"
    padding: Literal["repeatpad", "repeat", "pad"] = "repeatpad"
    shortest: Positive = 1

    def convert(self, sounds: list[Array]) -> dict[str, Array]:
        """input_features float32 [batch, 1 or 4, frames, mels], is_longer bool [batch, 1]."""
        converted = [self._one(sound) for sound in sounds]
        longer = [is_longer for _, is_longer in converted]
        if self.truncation == "fusion" and not any(longer):
            longer[0] = True  # upstream marks one at random where none is longer
        return {
            "input_features": np.stack([features for features, _ in converted]),
            "is_longer": np.array(longer)[:, None],
        }

    def _one(self, sound: Array) -> tuple[Array, bool]:
        overflow = len(sound) - self.samples
        if overflow <= 0:
            mel = self._mel(self._filled(sound))
            return np.stack([mel] * (4 if self.truncation == "fusion" else 1)), False
        if self.truncation == "rand_trunc":
            start = overflow // 2
            return self._mel(sound[start : start + self.samples])[None], True
        mel = self._mel(sound)
        frames = self.samples // self.hop + 1
        if len(mel) == frames:  # longer by less than a hop
            return np.stack([mel] * 4), False
        return _fused(mel, frames), True

    def _filled(self, sound: Array) -> Array:
        missing = self.samples - len(sound)
        if missing and self.padding != "pad":
            times = self.samples // len(sound)
            sound = np.tile(sound, times + (self.padding == "repeat"))[: self.samples]
        return np.pad(sound, (0, self.samples - len(sound)))

    def _mel(self, samples: Array) -> Array:
        """float32 [frames, mels], in decibels."""
        fused = self.truncation == "fusion"  # trained with torchaudio's filters, else librosa's
        filters = mel_filters(
            1 + self.window // 2,
            self.mels,
            lowest=self.lowest,
            highest=self.highest,
            sample_rate=self.sample_rate,
            scale="htk" if fused else "slaney",
            normalised=not fused,
        )
        power = power_spectrogram(samples, window=self.window, hop=self.hop)
        return (10.0 * log_mel(power, filters)).T.astype(np.float32)


def _fused(mel: Array, frames: int) -> Array:
    """The whole shrunk, and a crop from its front, middle and back: [4, frames, mels]."""
    parts = np.array_split(np.arange(len(mel) - frames + 1), 3)
    starts = [int(part[len(part) // 2]) if len(part) else 0 for part in parts]
    crops = [mel[start : start + frames] for start in starts]
    return np.stack([_shrunk(mel, frames), *crops])


def _shrunk(mel: Array, frames: int) -> Array:
    """Linear interpolation along time, between the centres of the frames."""
    places = (np.arange(frames) + 0.5) * len(mel) / frames - 0.5
    places = np.clip(places, 0, len(mel) - 1)
    before = np.floor(places).astype(np.int64)
    after = np.minimum(before + 1, len(mel) - 1)
    share = (places - before)[:, None].astype(np.float32)
    return mel[before] * (1 - share) + mel[after] * share
