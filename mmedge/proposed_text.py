"""A proposed project as an mmedge.toml, to be changed by hand."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from mmedge.checkpoint.describe import project_file_at
from mmedge.errors import ProjectError
from mmedge.project import InputTable, Project
from mmedge.proposing import Proposed, propose
from mmedge.storage import atomic_file

# Of an input's table: what is written even where it is the default.
ALWAYS = ("shape", "dtype", "modality")
UNSAID = msgspec.to_builtins(InputTable(shape=()))


def write_proposed(
    directory: Path, *, output: Path | None = None, force: bool = False
) -> tuple[Path, str]:
    """Write the project that is proposed for the checkpoint in `directory`; where, and what.

    output: the file, or an existing directory for mmedge.toml; without it, beside the checkpoint.
    Raises OutputError where there is one and `force` is not set, and what `propose` raises.
    """
    target = project_file_at(output or directory, force=force)
    proposed = propose(directory)
    if proposed.project.directory != directory.resolve():
        raise ProjectError(
            "the project of an adapter needs the processor files of its base model",
            expected="to be compiled without a project file",
            where=target.parent,
        )
    text = proposed_text(seen_from(proposed, target.parent))
    with atomic_file(target) as stream:
        stream.write(text.encode("utf-8"))
    return target, text


def seen_from(proposed: Proposed, directory: Path) -> Proposed:
    """The same project with its file in `directory`: paths are as seen from there."""
    before = proposed.project
    checkpoint = before.directory / before.file.model.weights
    weights = Path(os.path.relpath(checkpoint, directory)).as_posix()
    model = msgspec.structs.replace(before.file.model, weights=weights)
    file = msgspec.structs.replace(before.file, model=model)
    return replace(proposed, project=Project(directory, file))


def proposed_text(proposed: Proposed) -> str:
    """mmedge.toml with every decision as a comment."""
    file = msgspec.to_builtins(proposed.project.file)
    lines = [
        "# Written by `mmedge init`. Without this file, `mmedge compile` takes the same decisions.",
        f"# {proposed.proposal.family}:",
        *(_comment(line) for line in (*proposed.proposal.reasons, *_of_processor(proposed))),
        f"schema = {file['schema']}",
        f"name = {_value(file['name'])}",
        "",
    ]
    lines += _table("model", {"weights": file["model"]["weights"]})
    for name, table in file["inputs"].items():
        said = {key: v for key, v in table.items() if key in ALWAYS or v != UNSAID[key]}
        lines += _table(f"inputs.{name}", said)
    lines += _table("axes", file["axes"])
    lines += _table("recipe", file["recipe"])
    if file["processor"]:
        lines += _table("processor", file["processor"])
    given = {key: value for key, value in file["data"].items() if value}
    lines += _table("data", given) if given else []
    return "\n".join(lines)


def _of_processor(proposed: Proposed) -> tuple[str, ...]:
    reason = proposed.processor.reason
    return (*proposed.processor.notes, *([reason] if reason else []))


def _comment(text: str) -> str:
    """One line, whatever a file's own words in it are."""
    return "#   " + "".join(c if c.isprintable() else " " for c in text)


def _table(name: str, content: Mapping[str, object]) -> Iterator[str]:
    yield f"[{name}]"
    yield from (f"{_key(key)} = {_value(value)}" for key, value in content.items())
    yield ""


def _value(value: object) -> str:
    """The value as TOML: strings, numbers, lists and inline tables; None has no form."""
    if isinstance(value, Mapping):
        items = (f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None)
        return "{ " + ", ".join(items) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    # JSON leaves DEL as it is; TOML does not allow it.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    plain = name.replace("_", "").replace("-", "")
    return name if plain.isascii() and plain.isalnum() else _value(name)
