from __future__ import annotations

import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmedge.errors import InputError, ProjectError
from mmedge.runtime.preprocess import preprocess
from mmedge.runtime.preprocess.audio import read_wav
from mmedge.tensors import Array, TensorSpec
from mmedge.wiring import ModelInput

RATE = 16000
LIMITS = {1: (0, 255), 2: (-(2**15), 2**15 - 1), 3: (-(2**23), 2**23 - 1), 4: (-(2**31), 2**31 - 1)}


def convert(
    value: object, shape: tuple = ("batch", "samples"), dtype: str = "float32", **options: object
) -> Array:
    given = {"kind": "waveform", "sample_rate": RATE, **options}
    item = ModelInput(TensorSpec("sound", dtype, shape), preprocess=given)
    return preprocess(item, value, files=Path())


def write_wav(path: Path, frames: list[tuple[int, ...]], width: int, rate: int = RATE) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(frames[0]) if frames else 1)
        file.setsampwidth(width)
        file.setframerate(rate)
        samples = [sample for frame in frames for sample in frame]
        file.writeframes(b"".join(s.to_bytes(width, "little", signed=width > 1) for s in samples))
    return path


@given(data=st.data(), width=st.sampled_from([1, 2, 3, 4]), channels=st.integers(1, 3))
@settings(deadline=None, max_examples=60)
def test_wav_files_round_trip(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, width: int, channels: int
) -> None:
    sample = st.integers(*LIMITS[width])
    frames = data.draw(st.lists(st.tuples(*[sample] * channels), min_size=1, max_size=30))
    path = write_wav(tmp_path_factory.getbasetemp() / "any.wav", frames, width)
    zero, scale = (128, 128) if width == 1 else (0, 2 ** (8 * width - 1))
    expected = [sum((s - zero) / scale for s in frame) / channels for frame in frames]
    found, rate = read_wav(path)
    assert rate == RATE
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-7, rtol=1e-6)
    np.testing.assert_array_equal(convert(path)[0], found)


def test_stereo_is_averaged(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "stereo.wav", [(16384, -16384), (16384, 0)], 2)
    np.testing.assert_array_equal(convert(str(path)), [[0, 0.25]])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_arrays_and_lists(dtype: type) -> None:
    sound = np.array([0, 0.5, -1, 1], dtype=dtype)
    for value in (sound, sound.tolist(), [sound], tuple(sound.tolist())):
        found = convert(value)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, sound[None])


def test_a_list_of_sounds_is_a_batch(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", [(16384,), (0,)], 2)
    found = convert([path, [0, -1], np.array([1.0, 0.0])])
    np.testing.assert_array_equal(found, [[0.5, 0], [0, -1], [1, 0]])


@pytest.mark.parametrize("length", [1, 3, 5])
def test_a_declared_length_pads_or_cuts(length: int) -> None:
    sound = np.float32([0.1, 0.2, 0.3])
    found = convert([sound, sound[:1]], ("batch", length), length=length)
    np.testing.assert_array_equal(found[0], [*sound, 0, 0][:length])
    np.testing.assert_array_equal(found[1], [sound[0], 0, 0, 0, 0][:length])


def test_a_channel_axis_where_one_is_declared() -> None:
    assert convert([0.0, 0.5], ("batch", 1, "samples")).shape == (1, 1, 2)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_the_declared_dtype(dtype: str) -> None:
    assert convert([0.5], dtype=dtype).dtype == dtype


def test_another_sample_rate_is_refused_with_both(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "cd.wav", [(0,)], 2, rate=44100)
    with pytest.raises(InputError, match=r"44100 Hz\n.*16000 Hz"):
        convert(path)


def test_sounds_of_different_lengths_are_refused() -> None:
    with pytest.raises(InputError, match=r"different lengths\n.*\[1, 2\] samples"):
        convert([[0.0], [0.0, 1.0]])


@pytest.mark.parametrize(
    "value",
    [
        None,
        3.0,
        [],
        "absent.wav",
        Path(),
        "nul\0byte.wav",
        np.zeros(0, np.float32),
        np.zeros(4, np.int16),
        np.zeros((2, 4)),
        np.array([0.0, 1.5]),
        np.array([0.0, np.nan]),
        [0.0, 1.5],
        [[0.0, [1.0]]],
        ["a.wav", None],
        b"RIFF",
    ],
)
def test_what_is_no_sound_is_refused(value: object) -> None:
    with pytest.raises(InputError):
        convert(value)


def test_a_file_without_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no samples"):
        convert(write_wav(tmp_path / "empty.wav", [], 2))


def test_truncated_samples_are_refused(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "cut.wav", [(1,), (2,), (3,)], 2)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InputError, match=r"cut\.wav is damaged"):
        convert(path)


def test_a_float_wav_is_refused(tmp_path: Path) -> None:
    chunk = struct.pack("<IHHIIHH", 16, 3, 1, RATE, RATE * 4, 4, 32)  # 3: IEEE float
    data = b"data" + struct.pack("<I", 8) + b"\0" * 8
    riff = b"RIFF" + struct.pack("<I", 44)
    (tmp_path / "float.wav").write_bytes(riff + b"WAVE" + b"fmt " + chunk + data)
    with pytest.raises(InputError, match=r"expected: +a PCM"):
        convert(tmp_path / "float.wav")


@given(st.binary(max_size=80), st.integers(0, 44))
@settings(deadline=None, max_examples=100)
def test_any_bytes_are_a_sound_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, kept: int
) -> None:
    path = write_wav(tmp_path_factory.getbasetemp() / "fuzz.wav", [(1,), (2,)], 2)
    path.write_bytes(path.read_bytes()[:kept] + content)
    try:
        samples, _ = read_wav(path)
    except InputError:
        return
    assert np.isfinite(samples).all()


def test_sound_is_declared_as_floats() -> None:
    with pytest.raises(ProjectError, match="not declared as floats"):
        convert([0.5], dtype="int16")
