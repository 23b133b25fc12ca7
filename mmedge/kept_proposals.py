"""Proposals kept by content: a compile from the cache looks at no model class again.

Looking needs torch and transformers, whose imports take longer than all the rest of a compile
that finds every stage in the cache.
"""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path

import msgspec

from mmedge.cache import code_digest, key_of, tool_versions
from mmedge.checkpoint.adapters import base_directory, is_adapter
from mmedge.errors import OutputError
from mmedge.project import DataTable, Project, ProjectFile
from mmedge.proposing import propose
from mmedge.recipes import GROUP
from mmedge.storage import atomic_file

PROPOSAL = "proposal.json"


class _Kept(msgspec.Struct, frozen=True):
    """proposal.json: the project's directory, what would be its mmedge.toml, and remarks on it."""

    directory: str
    file: ProjectFile
    remarks: tuple[str, ...] = ()


def proposed_project(
    checkpoint: Path,
    *,
    cache: Path,
    use_cache: bool,
    samples: tuple[str, ...] = (),
    trust_remote_code: bool = False,
) -> Project:
    """What `propose` proposes; from `cache` where the same was asked of the same files before.

    use_cache: False asks anew. Raises what `propose` raises; an error is never kept.
    """
    key = _key(checkpoint, samples, trust_remote_code=trust_remote_code)
    place = cache / key / PROPOSAL if key else None
    kept = _read(place) if place is not None and use_cache else None
    if kept is None:
        found = propose(checkpoint, samples=samples, trust_remote_code=trust_remote_code)
        # Through JSON and back, so that the first compile has exactly what the next will read.
        text = msgspec.json.encode(
            _Kept(str(found.project.directory), found.project.file, found.remarks())
        )
        kept = msgspec.json.decode(text, type=_Kept)
        if place is not None:
            _write(place, text)
    return Project(Path(kept.directory), kept.file, remarks=kept.remarks)


def _key(checkpoint: Path, samples: tuple[str, ...], *, trust_remote_code: bool) -> str | None:
    """Of everything that decides a proposal; None without a sample, which is told later."""
    if not all(Path(sample).is_file() for sample in samples):
        return None
    directory = checkpoint.resolve()
    directories = [directory, *([base_directory(directory)] if is_adapter(directory) else [])]
    given = DataTable(samples=tuple(str(Path(sample).resolve()) for sample in samples))
    contents = [Project(d, ProjectFile(name=str(d), data=given)).digest() for d in directories]
    recipes = [
        (entry.name, entry.value, entry.dist.version if entry.dist else None)
        for entry in entry_points(group=GROUP)
    ]
    versions = tool_versions()
    return key_of(PROPOSAL, contents, recipes, versions, code_digest(), trust_remote_code)


def _read(place: Path) -> _Kept | None:
    try:
        return msgspec.json.decode(place.read_bytes(), type=_Kept)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _write(place: Path, text: bytes) -> None:
    with suppress(OSError, OutputError):  # a cache that takes nothing: the next compile looks again
        place.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(place) as stream:
            stream.write(text)
