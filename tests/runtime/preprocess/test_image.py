from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmedge.errors import InputError, ProjectError
from mmedge.runtime.preprocess import preprocess
from mmedge.tensors import Array, TensorSpec
from mmedge.wiring import ModelInput

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZES = st.integers(1, 40)


def convert(
    value: object, size: tuple[int, int], dtype: str = "float32", **options: object
) -> Array:
    spec = TensorSpec("image", dtype, ("batch", "a", "b", "c"))
    item = ModelInput(spec, preprocess={"kind": "image", "size": list(size), **options})
    return preprocess(item, value, files=Path())


def photograph(height: int = 5, width: int = 7, channels: int = 3, seed: int = 0) -> Array:
    shape = (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def by_hand(pixels: Array) -> Array:
    """float64 [1, 3, H, W], normalised with MEAN and STD."""
    return ((pixels / 255 - np.array(MEAN)) / np.array(STD)).transpose(2, 0, 1)[None]


def test_scales_normalises_and_transposes() -> None:
    pixels = photograph()
    found = convert(pixels, (5, 7), mean=MEAN, std=STD)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, by_hand(pixels), rtol=1e-5, atol=1e-6)


@given(st.tuples(SIZES, SIZES), st.tuples(SIZES, SIZES), st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_any_size_is_resized_as_pillow_does(
    size: tuple[int, int], wanted: tuple[int, int], seed: int
) -> None:
    pixels = photograph(*size, seed=seed)
    resized = Image.fromarray(pixels).resize(wanted[::-1], Image.Resampling.BILINEAR)
    found = convert(pixels, wanted, mean=MEAN, std=STD)
    np.testing.assert_allclose(found, by_hand(np.asarray(resized)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("resize", ["nearest", "bilinear", "bicubic"])
def test_the_filter_is_the_one_declared(resize: str) -> None:
    pixels = photograph(30, 40)
    expected = Image.fromarray(pixels).resize((9, 8), Image.Resampling[resize.upper()])
    found = convert(pixels, (8, 9), dtype="uint8", resize=resize, layout="NHWC")
    np.testing.assert_array_equal(found[0], np.asarray(expected))


def test_a_size_that_fits_is_exact() -> None:
    pixels = photograph(6, 6)
    for resize in ("nearest", "bilinear", "bicubic"):
        found = convert(pixels, (6, 6), dtype="uint8", resize=resize, layout="NHWC")
        np.testing.assert_array_equal(found[0], pixels)


def test_one_pixel_fills_the_image() -> None:
    found = convert(np.uint8([[[255, 51, 0]]]), (3, 3))
    expected = np.tile(np.float32([1, 0.2, 0])[None, :, None, None], (1, 1, 3, 3))
    np.testing.assert_allclose(found, expected)


def test_colours() -> None:
    pixels = photograph()
    rgb = convert(pixels, (5, 7), dtype="uint8", layout="NHWC")
    bgr = convert(pixels, (5, 7), dtype="uint8", layout="NHWC", color="bgr")
    gray = convert(pixels, (5, 7), dtype="uint8", color="gray")
    np.testing.assert_array_equal(bgr, rgb[..., ::-1])
    assert gray.shape == (1, 1, 5, 7)
    np.testing.assert_array_equal(gray[0, 0], np.asarray(Image.fromarray(pixels).convert("L")))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_declared_dtype(dtype: str) -> None:
    assert convert(photograph(), (5, 7), dtype=dtype).dtype == dtype


def test_one_number_normalises_every_channel() -> None:
    pixels = photograph()
    found = convert(pixels, (5, 7), mean=[0.5], std=[0.5])
    np.testing.assert_allclose(found[0], pixels.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff"])
def test_reads_files(tmp_path: Path, suffix: str) -> None:
    pixels = photograph()
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(pixels).save(path)
    for value in (path, str(path), Image.open(path), Image.fromarray(pixels)):
        found = convert(value, (5, 7), dtype="uint8", layout="NHWC")
        np.testing.assert_array_equal(found[0], pixels)


def test_a_list_is_a_batch_of_any_kinds(tmp_path: Path) -> None:
    first, second = photograph(seed=1), photograph(9, 9, seed=2)
    Image.fromarray(second).save(tmp_path / "second.png")
    found = convert([first, tmp_path / "second.png", Image.fromarray(first)], (5, 7))
    assert found.shape == (3, 3, 5, 7)
    for row, alone in zip(found, (first, second, first), strict=True):
        np.testing.assert_array_equal(row, convert(alone, (5, 7))[0])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = np.array([[10, 20, 30], [40, 50, 60]], dtype=np.uint8)
    stored = {  # EXIF 2.32, section 4.6.5: which corner row 0 and column 0 are at
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright.T[::-1, ::-1],
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "turned.png", exif=exif)
    found = convert(tmp_path / "turned.png", (2, 3), dtype="uint8", color="gray")
    np.testing.assert_array_equal(found[0, 0], upright)


def test_transparency_is_black() -> None:
    pixels = np.uint8([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 51]]])
    found = convert(pixels, (1, 3), dtype="uint8", layout="NHWC")
    np.testing.assert_array_equal(found[0, 0], [[200, 100, 50], [0, 0, 0], [40, 20, 10]])
    half_gone = Image.fromarray(np.uint8([[[90, 255], [90, 0]]]))
    assert half_gone.mode == "LA"
    gray = convert(half_gone, (1, 2), dtype="uint8", color="gray")
    np.testing.assert_array_equal(gray[0, 0], [[90, 0]])


def test_a_transparent_palette_is_black(tmp_path: Path) -> None:
    image = Image.fromarray(np.uint8([[0, 1]]), "P")
    image.putpalette([250, 240, 230, 5, 6, 7])
    image.save(tmp_path / "palette.png", transparency=0)
    found = convert(tmp_path / "palette.png", (1, 2), dtype="uint8", layout="NHWC")
    np.testing.assert_array_equal(found[0, 0], [[0, 0, 0], [5, 6, 7]])


def test_gray_and_bilevel_images_become_rgb() -> None:
    gray = photograph(channels=1)
    for value in (gray, gray[..., 0]):
        found = convert(value, (5, 7), dtype="uint8", layout="NHWC")
        np.testing.assert_array_equal(found[0], gray.repeat(3, axis=2))
    bilevel = Image.fromarray(gray[..., 0] > 99)
    found = convert(bilevel, (5, 7), dtype="uint8", color="gray")
    np.testing.assert_array_equal(found[0, 0], (gray[..., 0] > 99) * 255)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.uint16([[0, 300, 32768, 65535]])).save(tmp_path / "deep.png")
    found = convert(tmp_path / "deep.png", (1, 4), dtype="uint8", color="gray")
    np.testing.assert_array_equal(found[0, 0], [[0, 1, 128, 255]])


def test_cmyk_is_read_as_rgb(tmp_path: Path) -> None:
    image = Image.new("CMYK", (2, 2), (0, 255, 255, 0))
    found = convert(image, (2, 2), dtype="uint8", layout="NHWC")
    np.testing.assert_array_equal(found[0, 0, 0], [255, 0, 0])


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and has nothing else."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + body + struct.pack(">I", 0) + b"IDAT" + b"\0" * 4


@pytest.mark.parametrize("width", [10_001, 40_000])
def test_absurdly_large_files_are_refused_before_decoding(tmp_path: Path, width: int) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(width, 10_000))
    with pytest.raises(InputError, match=r"impossible size|DecompressionBomb") as caught:
        convert(tmp_path / "bomb.png", (4, 4))
    assert "scale it down to 100 megapixels" in str(caught.value.details["try"])


def test_what_to_do_about_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    for name, advice in (("missing.png", "check the path"), ("text.png", "PNG or JPEG")):
        with pytest.raises(InputError, match="cannot be read as an image") as caught:
            convert(tmp_path / name, (4, 4))
        assert advice in str(caught.value.details["try"])


def test_absurdly_large_arrays_are_refused() -> None:
    with pytest.raises(InputError, match="impossible size"):
        convert(np.broadcast_to(np.uint8(0), (20_000, 20_000, 3)), (4, 4))


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(photograph(60, 60)).save(path)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(InputError, match=r"cut\.png"):
        convert(path, (4, 4))


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM"]))
@settings(deadline=None, max_examples=60)
def test_any_bytes_are_an_image_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, magic: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.png"
    path.write_bytes(magic + content)
    try:
        assert convert(path, (2, 2)).shape == (1, 3, 2, 2)
    except InputError:
        return


@pytest.mark.parametrize(
    "value",
    [
        "absent.png",
        Path(),
        "nul\0byte.png",
        [],
        None,
        3,
        b"\x89PNG",
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
        Image.new("F", (4, 4)),
        Image.new("I", (4, 4)),
        [np.zeros((4, 4, 3), np.uint8), None],
    ],
)
def test_what_is_no_image_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="input 'image'"):
        convert(value, (4, 4))


@pytest.mark.parametrize("dtype", ["int8", "int64", "bool"])
def test_a_dtype_that_cannot_hold_pixels_is_refused(dtype: str) -> None:
    with pytest.raises(ProjectError, match="not declared as floats"):
        convert(photograph(), (5, 7), dtype=dtype)


def test_uint8_pixels_cannot_be_normalised() -> None:
    with pytest.raises(ProjectError, match="not declared as floats"):
        convert(photograph(), (5, 7), dtype="uint8", mean=MEAN, std=STD)
