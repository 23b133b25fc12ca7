"""Two photographs, a spoken sentence and questions: real inputs for models without samples.

Noise shows little of what a model does: most of its activations stay small. These files travel
in the package; README.md beside them says where they are from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmedge.runtime.preprocess.audio import read_wav
from mmedge.tensors import Array

HERE = Path(__file__).parent


@dataclass(frozen=True)
class RealSamples:
    """Paths and texts that belong together: text i is about image i.

    labels: what is to be seen on each image. words, boxes: a page as an OCR engine reads it,
    boxes (left, top, right, bottom) in thousandths of the page.
    """

    images: tuple[Path, ...]
    captions: tuple[str, ...]
    questions: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    speech: Path
    transcript: str
    words: tuple[str, ...]
    boxes: tuple[tuple[int, int, int, int], ...]

    def speech_at(self, sample_rate: int) -> Array:
        """The spoken sentence at another sample rate, in Hz: float32 samples from -1 to 1."""
        samples, own_rate = read_wav(self.speech)
        if sample_rate == own_rate:
            return samples
        length = round(len(samples) * sample_rate / own_rate)
        spectrum = np.fft.rfft(samples)[: length // 2 + 1]
        resampled = np.fft.irfft(spectrum, n=length) * (length / len(samples))
        return np.clip(resampled, -1, 1).astype(np.float32)


def real_samples() -> RealSamples:
    """The bundled samples."""
    return RealSamples(
        images=(HERE / "china.jpg", HERE / "flower.jpg"),
        captions=("a pagoda above a lake", "an orange dahlia before dark leaves"),
        questions=("What kind of building is this?", "What color is the flower?"),
        labels=(("a tower", "a tree"), ("a flower", "a leaf")),
        speech=HERE / "speech.wav",
        transcript="An orange flower grows by the old tower at the lake.",
        words=("Invoice", "12", "Total", "34.50"),
        boxes=((60, 40, 330, 90), (350, 40, 410, 90), (60, 820, 200, 860), (700, 820, 880, 860)),
    )
