"""Sounds to features: Whisper's and CLAP's within float32 of the spectra, Wav2Vec2's exactly.

Upstream computes Whisper's spectrum in float32 with torch, ours is float64: 1e-4 is what both
may differ by in the units of the features, which range over about 2. CLAP's are decibels.
"""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import transformers
from hypothesis.extra import numpy as arrays
from transformers.audio_utils import mel_filter_bank
from zoo import tokenizers

from mmedge.data.real_samples import RealSamples
from mmedge.errors import InputError
from mmedge.runtime.preprocess.audio import read_wav
from mmedge.runtime.processors import load_processor
from mmedge.runtime.processors.spectrogram import mel_filters, power_spectrogram
from mmedge.tensors import Array

from .comparison import assert_same
from .conftest import Saved

Save = Callable[..., Saved]
RATE = 16_000
DECIBELS = 1e-3


@pytest.fixture(scope="session")
def speech(samples: RealSamples) -> Array:
    return samples.speech_at(RATE)


def whisper(**options: Any) -> Any:
    return transformers.WhisperFeatureExtractor(**{"chunk_length": 2, **options})


@pytest.mark.parametrize("seconds", [0.001, 0.7, 2.0, 2.5])
@pytest.mark.parametrize("mels", [80, 128])
def test_whisper_features(saved: Save, speech: Array, mels: int, seconds: float) -> None:
    """Shorter than a window, shorter than the chunk, just as long, longer."""
    ours = saved(extractor := whisper(feature_size=mels))
    sound = speech[8000 : 8000 + int(seconds * RATE)]
    theirs = extractor(sound, sampling_rate=RATE, return_tensors="np")["input_features"]
    result = ours.convert(audio=sound)["input_features"]
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, theirs, atol=1e-4, rtol=0)


def test_whisper_features_of_the_whole_window_of_thirty_seconds(
    saved: Save, samples: RealSamples
) -> None:
    ours = saved(extractor := transformers.WhisperFeatureExtractor())
    sound, rate = read_wav(samples.speech)
    theirs = extractor(sound, sampling_rate=rate, return_tensors="np")["input_features"]
    result = ours.convert(audio=samples.speech)["input_features"]
    assert result.shape == (1, 80, 3000)
    np.testing.assert_allclose(result, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("hop", [160, 150])
@pytest.mark.parametrize("normalise", [False, True])
def test_whisper_batch_with_its_mask(saved: Save, speech: Array, hop: int, normalise: bool) -> None:
    ours = saved(extractor := whisper(return_attention_mask=True, hop_length=hop))
    if normalise:  # upstream takes it only when it is called
        options = dict(ours.found.options or {})
        options["audio"] = {**options["audio"], "normalise": True}
        ours = Saved(ours.directory, ours.found, load_processor(options, where="test"))
    sounds = [speech[:10_000], speech[:32_000], speech[5_000:5_100]]
    theirs = extractor(
        sounds,
        sampling_rate=RATE,
        return_attention_mask=True,
        do_normalize=normalise,
        return_tensors="np",
    )
    result = ours.convert(audio=sounds)
    np.testing.assert_allclose(result["input_features"], theirs["input_features"], atol=1e-4)
    assert_same(result, theirs, names="attention_mask")


def test_whisper_processor_takes_sound_alone(saved: Save, speech: Array) -> None:
    ours = saved(transformers.WhisperProcessor(whisper(), tokenizers.whisper()))
    assert set(ours.processor.raw_inputs()) == {"audio"}
    assert set(ours.convert(audio=speech)) == {"input_features"}


def wav2vec2(**options: Any) -> Any:
    return transformers.Wav2Vec2FeatureExtractor(**options)


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("normalise", [False, True])
def test_wav2vec2_values(saved: Save, speech: Array, mask: bool, normalise: bool) -> None:
    ours = saved(extractor := wav2vec2(return_attention_mask=mask, do_normalize=normalise))
    for sounds in ([speech[:9000], speech], [speech]):
        theirs = extractor(sounds, sampling_rate=RATE, padding=True, return_tensors="np")
        result = ours.convert(audio=sounds)
        assert set(result) == set(theirs)
        assert_same(result, theirs, names=" ".join(theirs))


def test_wav2vec2_refuses_less_than_its_convolutions_need(saved: Save, speech: Array) -> None:
    config = transformers.Wav2Vec2Config()
    ours = saved(wav2vec2(), config=config.to_json_string())
    least = 1
    while not _frames(config, least):
        least += 1
    assert ours.convert(audio=speech[:least])["input_values"].shape == (1, least)
    with pytest.raises(InputError, match=f"at least {least}"):
        ours.convert(audio=speech[: least - 1])


def _frames(config: Any, samples: int) -> int:
    """What the convolutions leave of so many samples."""
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        samples = (samples - kernel) // stride + 1 if samples >= kernel else 0
    return samples


def clap(**options: Any) -> Any:
    return transformers.ClapFeatureExtractor(**{"max_length_s": 2, **options})


@pytest.fixture
def middle_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upstream draws at random: let it draw what we always take."""
    monkeypatch.setattr(np.random, "randint", lambda low, high: (high - 1) // 2 if high > 3 else 0)
    monkeypatch.setattr(np.random, "choice", lambda values: values[len(values) // 2])


@pytest.mark.parametrize("padding", ["repeatpad", "repeat", "pad"])
@pytest.mark.parametrize("truncation", ["fusion", "rand_trunc"])
@pytest.mark.parametrize("seconds", [0.02, 0.75, 2.0, 2.005, 2.7])
def test_clap_features(
    saved: Save,
    samples: RealSamples,
    middle_crops: None,
    truncation: str,
    padding: str,
    seconds: float,
) -> None:
    ours = saved(extractor := clap(truncation=truncation, padding=padding))
    sound = samples.speech_at(48_000)[: int(seconds * 48_000)]
    theirs = extractor(sound, sampling_rate=48_000, return_tensors="np")
    result = ours.convert(audio=sound)
    assert_same(result, theirs, names="is_longer")
    assert result["input_features"].shape == theirs["input_features"].shape
    features = result["input_features"]
    np.testing.assert_allclose(features, theirs["input_features"], atol=DECIBELS, rtol=0)


def test_clap_processor_takes_sounds_and_texts(saved: Save, samples: RealSamples) -> None:
    processor = transformers.ClapProcessor(clap(), tokenizers.roberta())
    ours = saved(processor)
    sounds = [samples.speech_at(48_000)] * 2
    texts = ["a dog", "the sound of rain"]
    theirs = processor(
        audio=sounds, text=texts, sampling_rate=48_000, padding=True, return_tensors="np"
    )
    result = ours.convert(audio=sounds, text=texts)
    assert set(result) == set(theirs)
    assert_same(result, theirs, names="input_ids attention_mask is_longer")


FILTER_BANKS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "ast": (transformers.ASTFeatureExtractor, {"max_length": 120}),
    "ast as it is": (transformers.ASTFeatureExtractor, {}),
    "ast not normalised": (transformers.ASTFeatureExtractor, {"do_normalize": False}),
    "seamless": (transformers.SeamlessM4TFeatureExtractor, {}),
    "seamless of few mels": (
        transformers.SeamlessM4TFeatureExtractor,
        {"num_mel_bins": 20, "feature_size": 20, "padding_value": 1.0},
    ),
    "speech_to_text": (transformers.Speech2TextFeatureExtractor, {}),
    "speech_to_text centred": (transformers.Speech2TextFeatureExtractor, {"normalize_vars": False}),
    "speech_to_text raw": (
        transformers.Speech2TextFeatureExtractor,
        {"do_ceptral_normalize": False},
    ),
}


@pytest.mark.parametrize("name", FILTER_BANKS)
def test_filter_banks(saved: Save, speech: Array, name: str) -> None:
    """Lengths that end between frames, one pair of frames, and a batch of them."""
    make, options = FILTER_BANKS[name]
    ours = saved(extractor := make(**options))
    for sounds in ([speech[5000:25_000], speech[:17_123]], [speech[9000:9560]], [speech]):
        padding = {} if name.startswith("ast") else {"padding": True}
        theirs = extractor(sounds, sampling_rate=RATE, return_tensors="np", **padding)
        result = ours.convert(audio=sounds)
        assert set(result) == set(theirs)
        for tensor, value in theirs.items():
            assert result[tensor].shape == value.shape
            assert result[tensor].dtype == value.dtype
            np.testing.assert_allclose(result[tensor], value, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["ast", "seamless", "speech_to_text"])
def test_filter_banks_refuse_a_sound_shorter_than_their_frames(
    saved: Save, speech: Array, name: str
) -> None:
    make, options = FILTER_BANKS[name]
    with pytest.raises(InputError, match="too short"):
        saved(make(**options)).convert(audio=speech[:399])


@pytest.mark.parametrize("form", ["path", "pair", "dict", "list"])
def test_forms_of_a_sound(saved: Save, samples: RealSamples, form: str) -> None:
    ours = saved(wav2vec2())
    sound = samples.speech_at(RATE)
    forms = {
        "path": str(samples.speech),
        "pair": (sound, RATE),
        "dict": {"array": sound, "sampling_rate": RATE},
        "list": sound.tolist(),
    }
    expected = ours.convert(audio=sound)["input_values"]
    np.testing.assert_array_equal(ours.convert(audio=forms[form])["input_values"], expected)
    both = ours.convert(audio=[forms[form], sound])["input_values"]
    np.testing.assert_array_equal(both, np.concatenate([expected, expected]))


NOISE = np.zeros(1000, np.float32)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "empty list"),
        (np.zeros(0, np.float32), "too short"),
        (np.full(1000, np.nan, np.float32), "1000 of 1000 samples"),
        (np.full(1000, 3000.0), "divide 16-bit samples"),
        (np.zeros(1000, np.int16), r"int16\[1000\]"),
        (np.zeros((2, 1000), np.float32), r"float32\[2, 1000\]"),
        ((NOISE, 8000), "8000 Hz"),
        ({"array": NOISE, "sampling_rate": 44_100}, "44100 Hz"),
        ({"sampling_rate": RATE}, "takes a sound"),
        ([[0.0, 0.1], [0.0]], "too short"),
        ("missing.wav", "cannot be read as a sound"),
        (None, "takes a sound"),
        (17, "takes a sound"),
    ],
)
def test_what_is_not_a_sound(saved: Save, value: object, message: str) -> None:
    ours = saved(wav2vec2(), config='{"conv_kernel": [10], "conv_stride": [5]}')
    with pytest.raises(InputError, match=message):
        ours.convert(audio=value)


def test_wav_of_another_sample_rate_names_the_command(saved: Save, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "low.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(4000))
    with pytest.raises(InputError, match="ffmpeg -i INPUT -ar 16000"):
        saved(wav2vec2()).convert(audio=tmp_path / "low.wav")


def test_speech_keeps_its_spectrum_at_another_rate(samples: RealSamples) -> None:
    """Below 8 kHz both have the same energy; above, the faster one has none."""
    slow, fast = samples.speech_at(RATE), samples.speech_at(3 * RATE)
    assert len(fast) == 3 * len(slow)
    np.testing.assert_allclose(fast[::3], slow, atol=2e-3)


@hypothesis.given(
    arrays.arrays(
        np.float32, st.integers(201, 900), elements=st.floats(-1, 1, width=32, allow_nan=False)
    ),
    st.sampled_from([(400, 160), (256, 100)]),
)
def test_power_spectrogram_keeps_parsevals_energy(sound: Array, sizes: tuple[int, int]) -> None:
    """Of every windowed frame: the sum over frequencies is that over time, times the length."""
    window, hop = sizes
    power = power_spectrogram(sound, window=window, hop=hop)
    padded = np.pad(sound.astype(np.float64), window // 2, mode="reflect")
    hann = np.hanning(window + 1)[:-1]
    for index in range(power.shape[1]):
        frame = padded[index * hop : index * hop + window] * hann
        both_halves = 2 * power[:, index].sum() - power[0, index] - power[-1, index]
        assert both_halves == pytest.approx(window * (frame**2).sum(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("scale", ["htk", "slaney", "kaldi"])
@pytest.mark.parametrize("normalised", [False, True])
def test_mel_filters_are_upstreams(scale: Any, normalised: bool) -> None:
    theirs = mel_filter_bank(
        201, 80, 0.0, 8000.0, RATE, norm="slaney" if normalised else None, mel_scale=scale
    )
    ours = mel_filters(
        201, 80, lowest=0.0, highest=8000.0, sample_rate=RATE, scale=scale, normalised=normalised
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
