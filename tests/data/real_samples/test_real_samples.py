"""The bundled samples are what they claim to be, and belong to the package."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
from PIL import Image

import mmedge
from mmedge.data.real_samples import real_samples
from mmedge.runtime.preprocess.audio import read_wav


def test_photographs_are_small_and_in_colour() -> None:
    for path in real_samples().images:
        image = Image.open(path)
        assert image.mode == "RGB"
        assert max(image.size) <= 640
        assert np.asarray(image).std() > 30  # neither is a plain surface


def test_speech_is_short_and_loud_enough() -> None:
    samples, rate = read_wav(real_samples().speech)
    assert rate == 16_000
    assert 1.5 <= len(samples) / rate <= 3
    assert 0.1 < np.abs(samples).max() <= 1


def test_texts_belong_to_the_images() -> None:
    samples = real_samples()
    count = len(samples.images)
    assert len(samples.captions) == len(samples.questions) == len(samples.labels) == count
    assert len(samples.words) == len(samples.boxes)
    for left, top, right, bottom in samples.boxes:
        assert 0 <= left < right <= 1000
        assert 0 <= top < bottom <= 1000


def test_files_are_package_data() -> None:
    """Inside the package's directory, which the wheel contains as it is."""
    found = {item.name for item in (files(mmedge) / "data" / "real_samples").iterdir()}
    samples = real_samples()
    assert {path.name for path in (*samples.images, samples.speech)} <= found
    assert "README.md" in found
