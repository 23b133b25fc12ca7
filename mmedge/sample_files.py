"""Files of samples as a user has them: images, sounds, texts, tensors, JSON with examples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmedge.errors import DataError

WHERE = "--sample"
EXAMPLES = "examples"
TENSORS = "tensors"
SUFFIXES = {
    "image": (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"),
    "audio": (".wav",),
    "text": (".txt",),
    EXAMPLES: (".json", ".jsonl"),
    TENSORS: (".npz",),
}


def read_sample(path: Path) -> tuple[str, list[Any]]:
    """What kind of sample a file is, a key of SUFFIXES, and what is in it.

    An image, a sound or a file of tensors is its path, a text file a text in each line, JSON a
    dict for each example.
    Raises DataError for a file that is not there, of another suffix, broken or empty.
    """
    if not path.is_file():
        raise DataError(f"the sample {path} is not a file", where=WHERE)
    kind = _kind(path)
    if kind is None:
        known = ", ".join(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
        raise DataError(f"{path.name} is no sample that mmedge reads", expected=known, where=path)
    if kind in ("image", "audio", TENSORS):
        return kind, [str(path)]
    return kind, _examples(path) if kind == EXAMPLES else _lines(path)


def files_behind(path: Path) -> tuple[Path, ...]:
    """The file, and of examples every file that they name: what decides the samples."""
    if _kind(path) != EXAMPLES or not path.is_file():
        return (path,)
    named = [file for example in _examples(path) for file in _files_of(path, [*example.values()])]
    return (path, *dict.fromkeys(named))


def _kind(path: Path) -> str | None:
    suffix = path.suffix.lower()
    return next((kind for kind, suffixes in SUFFIXES.items() if suffix in suffixes), None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        reason = error.reason if isinstance(error, UnicodeDecodeError) else error.strerror
        raise DataError(
            f"{path.name} cannot be read as text", found=reason, expected="UTF-8", where=path
        ) from error


def _lines(path: Path) -> list[str]:
    lines = [line for line in _text(path).splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path.name} holds no text", expected="a text in each line", where=path)
    return lines


def _examples(path: Path) -> list[dict[str, Any]]:
    """Examples of a JSON list or of JSON lines; files they name are relative to it."""
    found = _decoded(path)
    found = found[0] if len(found) == 1 and isinstance(found[0], list) else found
    if not found or not all(isinstance(example, dict) and example for example in found):
        raise DataError(
            f"{path.name} holds no examples",
            expected='[{"image": "cat.jpg", "text": "what is it?"}, ...]',
            where=path,
        )
    return [{name: _resolved(path, value) for name, value in e.items()} for e in found]


def _decoded(path: Path) -> list[Any]:
    """The values of a JSON file, or of every line that is not blank."""
    text = _text(path)
    by_line = path.suffix.lower() == ".jsonl"
    parts = enumerate(text.splitlines() if by_line else [text], 1)
    found = []
    for number, part in parts:
        if by_line and not part.strip():
            continue
        try:
            found.append(json.loads(part))
        except (ValueError, RecursionError) as error:
            where = f"{path}:{number}" if by_line else path
            raise DataError(f"{path.name} is not JSON", found=error, where=where) from error
    return found


def _resolved(path: Path, value: Any) -> Any:
    if isinstance(value, list):
        return [_resolved(path, item) for item in value]
    return str(path.parent / value) if _names_file(path, value) else value


def _names_file(path: Path, value: Any) -> bool:
    try:
        return isinstance(value, str) and (path.parent / value).is_file()
    except (OSError, ValueError):  # a text: too long for a name, or with a NUL in it
        return False


def _files_of(path: Path, values: list[Any]) -> Iterator[Path]:
    for value in values:
        if isinstance(value, list):
            yield from _files_of(path, value)
        elif _names_file(path, value):
            yield path.parent / value
