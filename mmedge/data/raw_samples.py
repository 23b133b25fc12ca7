"""Raw samples for a processor: the user's own, or the bundled photographs, questions and speech."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from mmedge.data.real_samples import RealSamples, real_samples
from mmedge.errors import DataError, ProjectError
from mmedge.runtime.processors import RawInput

BUNDLED = "bundled photographs, questions and speech"
# How many raw samples a checkpoint is looked at and verified with.
COUNT = 4
SUFFIXES = {
    "image": (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"),
    "audio": (".wav",),
    "text": (".txt",),
    "examples": (".json", ".jsonl"),
}
# Methods of texts that take several with each image: what to look for in it.
TEXTS_TOGETHER = ("queries", "labels")


@dataclass(frozen=True)
class RawSamples:
    """Samples as the user would pass them, each a value for every raw input; and their origin."""

    values: tuple[dict[str, Any], ...]
    origin: str


def raw_samples(
    raw_inputs: Mapping[str, RawInput], options: Mapping[str, Any], *, paths: Iterable[Path] = ()
) -> RawSamples:
    """Samples for all raw inputs; what the user's files leave out is bundled.

    options: the processor's. paths: images, sounds and texts (one in a line) by their suffix;
    or .json, .jsonl with whole examples. Raises DataError for a file that is none of those.
    """
    given = [_read(path) for path in paths]
    examples = [example for kind, values in given if kind == "examples" for example in values]
    if examples:
        return RawSamples(tuple(examples), "--sample")
    own = {kind: [v for k, values in given if k == kind for v in values] for kind, _ in given}
    pools = {name: _pool(raw, name, own, options) for name, raw in raw_inputs.items()}
    count = max([COUNT, *(len(values) for values in own.values())])
    rows = zip(*(islice(cycle(pool), count) for pool in pools.values()), strict=True)
    origin = BUNDLED if not own else f"--sample ({', '.join(own)})"
    return RawSamples(tuple(dict(zip(pools, row, strict=True)) for row in rows), origin)


def _read(path: Path) -> tuple[str, list[Any]]:
    """What kind of sample a file is, and what is in it."""
    if not path.is_file():
        raise DataError(f"the sample {path} is not a file", where="--sample")
    kind = next((k for k, suffixes in SUFFIXES.items() if path.suffix.lower() in suffixes), None)
    if kind in ("image", "audio"):
        return kind, [str(path)]
    if kind == "text":
        lines = path.read_text(encoding="utf-8").splitlines()
        return kind, [line for line in lines if line.strip()]
    if kind == "examples":
        return kind, _examples(path)
    known = ", ".join(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
    raise DataError(f"{path.name} is no sample that mmedge reads", expected=known, where=path)


def _examples(path: Path) -> list[dict[str, Any]]:
    """Examples of a JSON list or of JSON lines; files they name are relative to it."""
    text = path.read_text(encoding="utf-8")
    try:
        lines = path.suffix.lower() == ".jsonl"
        parts = [line for line in text.splitlines() if line] if lines else [text]
        found = [json.loads(part) for part in parts]
    except ValueError as error:
        raise DataError(f"{path.name} is not JSON", found=error, where=path) from error
    found = found[0] if len(found) == 1 and isinstance(found[0], list) else found
    if not found or not all(isinstance(example, dict) for example in found):
        raise DataError(
            f"{path.name} holds no examples",
            expected='[{"image": "cat.jpg", "text": "what is it?"}, ...]',
            where=path,
        )
    return [{name: _beside(path, value) for name, value in e.items()} for e in found]


def _beside(path: Path, value: Any) -> Any:
    if isinstance(value, str) and (path.parent / value).is_file():
        return str(path.parent / value)
    return value


def _pool(
    raw: RawInput, name: str, own: Mapping[str, list[Any]], options: Mapping[str, Any]
) -> list[Any]:
    """Values for one raw input, to be taken in turn."""
    bundled = real_samples()
    if name == "words":
        return [list(bundled.words)]
    if name == "boxes":
        return [[list(box) for box in bundled.boxes]]
    if raw.modality in own:
        return own[raw.modality]
    if raw.modality == "image":
        return [str(path) for path in bundled.images]
    if raw.modality == "audio":
        return _sounds(bundled, _rate(options))
    if raw.modality != "text":
        raise ProjectError(f"there are no samples for the raw input {name!r}", found=raw.modality)
    if _table(options, "text").get("method") in TEXTS_TOGETHER:
        return [list(labels) for labels in bundled.labels]
    # All of one kind: texts of very different length would be padding above all.
    return [*bundled.questions, *bundled.captions]


def _table(options: Mapping[str, Any], modality: str) -> dict[str, Any]:
    return dict(options.get(modality) or {})


def _rate(options: Mapping[str, Any]) -> int:
    return int(_table(options, "audio")["sample_rate"])


def _sounds(bundled: RealSamples, sample_rate: int) -> list[Any]:
    """The spoken sentence and its second half."""
    whole = bundled.speech_at(sample_rate)
    return [whole, whole[len(whole) // 2 :]]
