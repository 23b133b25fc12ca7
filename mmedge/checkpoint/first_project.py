"""The text of a first mmedge.toml: what is known, filled in; what is guessed, marked `# check`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from mmedge.checkpoint.formats import Format
from mmedge.checkpoint.modality import guess_input, guess_modality
from mmedge.checkpoint.sources import Candidate, candidates
from mmedge.checkpoint.summary import CheckpointSummary, InputGuess

CHECK = "  # check"
LISTED = 20
AXIS_MAX = {"batch": 64, "length": 512}
# What is typical: tokens of a sentence, mel frames and samples (16 kHz) of a second of sound.
AXIS_OPT = {"length": 32, "frames": 100, "samples": 16000}
_ENCODER = re.compile(
    r"encoder|backbone|tower|vision|visual|image|text|question|audio|speech|video"
)
_NOT_ENCODER = re.compile(r"proj|head|classif|decoder|scale|embeddings?$|fusion|norm")


def project_text(summary: CheckpointSummary, *, name: str, directory: Path, weights: str) -> str:
    """mmedge.toml for the checkpoint `weights` in `directory`; it parses as a project file.

    name: what the project's name is made of.
    """
    prefixes = frozenset(tensor.name.split(".")[0] for tensor in summary.tensors)
    own_model = summary.format in {Format.EXPORTED_PROGRAM, Format.HUGGING_FACE}
    found = () if own_model else candidates(directory, prefixes=prefixes)
    inputs = summary.inputs or _inputs_of(found, summary)
    lines = [
        "# A first project file, written by `mmedge init`. Every guess is marked `# check`.",
        "schema = 1",
        f"name = {_toml(_slug(name))}",
        "",
        *_model_table(summary, found, weights, own_model=own_model),
        *_input_tables(inputs),
        *_recipe_table(summary, _in_order_of_calls(encoder_prefixes(summary), found)),
        *_axes_table(inputs, summary),
        *_data_table(),
    ]
    return "\n".join(lines) + "\n"


def encoder_prefixes(summary: CheckpointSummary) -> tuple[str, ...]:
    """Submodules that look like encoders, by their names, in the order of the weights."""
    return tuple(
        path
        for path in summary.prefixes()
        if _ENCODER.search(path.rpartition(".")[2]) and not _NOT_ENCODER.search(path)
    )


def _model_table(
    summary: CheckpointSummary, found: tuple[Candidate, ...], weights: str, *, own_model: bool
) -> Iterator[str]:
    yield "[model]"
    yield f"# {summary.format.value}, {len(summary.tensors)} tensors, {summary.parameters} values"
    yield from (f"# {_printable(note)}" for note in summary.notes)
    yield from (f"# the pickle asks for {_printable(name)}" for name in summary.objects[:10])
    yield f"weights = {_toml(weights)}"
    if own_model:
        yield "# no factory: this format brings its own model"
    elif found and found[0].sure:
        yield f"factory = {_toml(found[0].reference)}{CHECK}"
        yield from (f"# or: factory = {_toml(other.reference)}" for other in found[1:LISTED])
        if found[0].required:
            values = ", ".join(f"{name} = ..." for name in found[0].required)
            yield f"# arguments = {{ {values} }}  # it can't be called without these"
    else:
        yield '# factory = "module:function"  # a function that returns the untrained model'
        yield from (f"# perhaps: factory = {_toml(other.reference)}" for other in found[:LISTED])
    yield ""


def _inputs_of(found: tuple[Candidate, ...], summary: CheckpointSummary) -> tuple[InputGuess, ...]:
    made = next((candidate.makes for candidate in found if candidate.makes), None)
    return tuple(
        guess_input(argument.name, channels=_channels(summary), optional=not argument.required)
        for argument in (made.forward if made else ())
    )


def _channels(summary: CheckpointSummary) -> int | None:
    """Input channels of two-dimensional convolutions below an image encoder, if image-like."""
    found = {
        tensor.shape[1]
        for tensor in summary.tensors
        if len(tensor.shape) == 4 and guess_modality(tensor.name.split(".")[0]) == "image"
    }
    # One channel last: every depthwise convolution has it too.
    return next((channels for channels in (3, 4, 1) if channels in found), None)


def _input_tables(inputs: tuple[InputGuess, ...]) -> Iterator[str]:
    if not inputs:
        yield "# One table for each argument of the model's forward, in order:"
        yield "# [inputs.image]"
        yield '# modality = "image"  # or "text", "audio", "video", "tensor"'
        yield '# shape = ["batch", 3, 224, 224]'
        yield '# dtype = "float32"'
        yield ""
    others = [item.name for item in inputs if item.optional and item.modality == "tensor"]
    if others:
        yield f"# forward also takes {', '.join(others)}: declare here those that are tensors"
    for item in inputs:
        if item.name in others:
            continue
        check = "" if item.sure else CHECK
        yield f"[inputs.{item.name}]"
        yield f"modality = {_toml(item.modality)}{CHECK}"
        yield f"shape = {_toml(list(item.shape))}{check}"
        yield f"dtype = {_toml(item.dtype)}{check}"
        if item.optional:
            yield "optional = true  # forward has a default for it"
        if item.preprocess:
            yield f"preprocess = {_toml(item.preprocess)}{CHECK}"
        yield ""


def _in_order_of_calls(encoders: tuple[str, ...], found: tuple[Candidate, ...]) -> tuple[str, ...]:
    """The recipe wants its components in the order forward calls them."""
    calls = found[0].makes.calls if found and found[0].makes else ()
    return tuple(sorted(encoders, key=lambda p: calls.index(p) if p in calls else len(calls)))


def _recipe_table(summary: CheckpointSummary, encoders: tuple[str, ...]) -> Iterator[str]:
    yield "# Submodules by their number of values:"
    yield from (f"#   {_printable(path)}: {count}" for path, count in summary.prefixes().items())
    yield "[recipe]"
    if len(encoders) >= 2 and summary.format is not Format.EXPORTED_PROGRAM:
        yield 'name = "submodules"'
        yield f"components = {_toml(list(encoders))}  # check: in the order forward calls them"
        yield 'rest = "fusion"'
    else:
        yield 'name = "single_graph"'
    yield ""


def _axes_table(inputs: tuple[InputGuess, ...], summary: CheckpointSummary) -> Iterator[str]:
    used = [item for item in inputs if not (item.optional and item.modality == "tensor")]
    names = dict.fromkeys(d for item in used for d in item.shape if isinstance(d, str))
    if not names:
        return
    yield "[axes]"
    for name in names:
        low, stated = summary.axes.get(name, (1, None))
        high = stated or max(low, AXIS_MAX.get(name, 2**16))
        typical = max(low, min(high, AXIS_OPT.get(name, low)))
        check = "" if name in summary.axes and typical == low else CHECK
        yield f"{name} = {{ min = {low}, opt = {typical}, max = {high} }}{check}"
    yield ""


def _data_table() -> Iterator[str]:
    yield "# Real samples, for calibration and for the accuracy gate:"
    yield "# [data]"
    yield '# calibration = "data:calibration"'
    yield '# evaluation = "data:evaluation"'
    yield '# metric = "accuracy"'


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_") or "model"


def _toml(value: object) -> str:
    """The value as TOML: strings, numbers, lists and inline tables."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    # JSON leaves DEL as it is; TOML does not allow it.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _printable(text: str) -> str:
    """Text from the checkpoint, unable to end the comment it is put into."""
    return "".join(character if character.isprintable() else "?" for character in text)
