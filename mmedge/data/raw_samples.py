"""Raw samples for a processor: the user's own, or bundled photographs, questions and speech."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from mmedge.data.real_samples import RealSamples, real_samples
from mmedge.errors import DataError, ProjectError
from mmedge.runtime.processors import RawInput
from mmedge.sample_files import EXAMPLES, WHERE, read_sample

# Of each modality, what is bundled.
BUNDLED = {"image": "photographs", "text": "questions", "audio": "speech"}
# How many raw samples a checkpoint is looked at and verified with.
COUNT = 4
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
    or .json, .jsonl with whole examples. Raises DataError for a file that is none of those, and
    for one that the model has no input for.
    """
    given = [read_sample(path) for path in paths]
    own = {kind: [v for k, values in given if k == kind for v in values] for kind, _ in given}
    if EXAMPLES in own:
        return _of_examples(own, raw_inputs, options)
    _check_taken(own, raw_inputs)
    pools = {name: _pool(raw, name, own, options) for name, raw in raw_inputs.items()}
    count = max([COUNT, *(len(values) for values in own.values())])
    modalities = [raw.modality for raw in raw_inputs.values()]
    origin = bundled_origin(modalities) if not own else f"{WHERE} ({', '.join(own)})"
    return RawSamples(tuple(_rows(pools, count)), origin)


def bundled_origin(modalities: Iterable[str]) -> str:
    """What bundled samples of these modalities are, for a report."""
    there = {*modalities}
    kinds = [words for modality, words in BUNDLED.items() if modality in there]
    first, last = kinds[:-1], kinds[-1:] or ["samples"]
    return "bundled " + " and ".join([*([", ".join(first)] if first else []), *last])


def _rows(pools: Mapping[str, list[Any]], count: int) -> list[dict[str, Any]]:
    """So many samples, each value taken in turn."""
    rows = zip(*(islice(cycle(pool), count) for pool in pools.values()), strict=True)
    return [dict(zip(pools, row, strict=True)) for row in rows]


def _of_examples(
    own: Mapping[str, list[Any]], raw_inputs: Mapping[str, RawInput], options: Mapping[str, Any]
) -> RawSamples:
    """Whole examples; a modality that they leave out is bundled."""
    examples = own[EXAMPLES]
    _check_examples(own, raw_inputs)
    there = {raw_inputs[name].modality for name in examples[0]}
    pools = {
        name: _pool(raw, name, {}, options)
        for name, raw in raw_inputs.items()
        if raw.modality not in there
    }
    rest = _rows(pools, len(examples)) if pools else [{}] * len(examples)
    return RawSamples(tuple(e | more for e, more in zip(examples, rest, strict=True)), WHERE)


def _check_taken(own: Mapping[str, list[Any]], raw_inputs: Mapping[str, RawInput]) -> None:
    """A sample that nothing is made of must not seem to have been verified with."""
    taken = dict.fromkeys(raw.modality for raw in raw_inputs.values())
    for kind in own:
        if kind not in taken:
            raise DataError(
                f"the model takes no {kind}",
                found=own[kind][0],
                expected=", ".join(taken),
                where=WHERE,
            )


def _check_examples(own: Mapping[str, list[Any]], raw_inputs: Mapping[str, RawInput]) -> None:
    examples = own[EXAMPLES]
    if len(own) > 1:
        raise DataError(
            "JSON with whole examples, and other samples beside it",
            found=", ".join(own),
            expected="one or the other",
            where=WHERE,
        )
    for number, example in enumerate(examples):
        unknown = [name for name in example if name not in raw_inputs]
        if unknown or example.keys() != examples[0].keys():
            raise DataError(
                f"example {number} does not have the inputs that it should",
                found=", ".join(example),
                expected=", ".join(raw_inputs if unknown else examples[0]),
                where=WHERE,
            )


def _pool(
    raw: RawInput, name: str, own: Mapping[str, list[Any]], options: Mapping[str, Any]
) -> list[Any]:
    """Values for one raw input, to be taken in turn."""
    bundled = real_samples()
    if name == "words":
        return [list(bundled.words)]
    if name == "boxes":
        return [[list(box) for box in bundled.boxes]]
    together = raw.modality == "text" and _table(options, "text").get("method") in TEXTS_TOGETHER
    if raw.modality in own:
        return [own[raw.modality]] if together else own[raw.modality]
    if raw.modality == "image":
        return [str(path) for path in bundled.images]
    if raw.modality == "audio":
        return _sounds(bundled, _rate(options))
    if raw.modality != "text":
        raise ProjectError(f"there are no samples for the raw input {name!r}", found=raw.modality)
    if together:
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
