"""Finished stages, kept by content. A failed or killed stage leaves nothing behind."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from mmedge.artifact import Artifact, as_plain
from mmedge.errors import OutputError
from mmedge.resources import PACKAGE
from mmedge.storage import directory_bytes, explained_os_errors, parent_takes_files

ARTIFACT = "artifact.json"
MAKING = ".making-"
KEY = re.compile(r"[0-9a-f]{64}")
TOOLS = ("torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "numpy", "transformers")


def default_cache_directory() -> Path:
    """$MMEDGE_CACHE, else the user's cache directory."""
    chosen = os.environ.get("MMEDGE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen) if chosen else Path(base) / "mmedge"


def tool_versions() -> dict[str, str]:
    """Installed versions of everything that shapes a result, without importing any of it."""
    found = {"mmedge": version("mmedge")}
    for tool in TOOLS:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return found


def code_digest() -> str:
    """A hash over mmedge's own source, so that a change of mmedge never meets an old result."""
    digest = hashlib.sha256()
    recipes = PACKAGE.parent / "export" / "mmedge_export"
    roots = [PACKAGE, recipes if recipes.is_dir() else PACKAGE.parent / "mmedge_export"]
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def key_of(*parts: Any) -> str:
    """A key from any JSON-like values."""
    text = json.dumps(msgspec.to_builtins(parts), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Entry:
    """A cached stage, as `mmedge cache` lists it."""

    key: str
    stage: str
    model: str
    size_bytes: int
    modified: float


class _Kept(msgspec.Struct, frozen=True):
    """artifact.json: the artifact, and the size in bytes of every file that the stage wrote."""

    artifact: Artifact
    sizes: dict[str, int]


@dataclass(frozen=True)
class StageCache:
    """A directory with one sub-directory for each finished stage."""

    directory: Path

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While active, `clear` refuses: a compile stands on the files of its finished stages.

        What killed compiles left is removed first, if no other compile uses the cache.
        """
        self._make_directory()
        with _locked(self.directory, fcntl.LOCK_SH, alone=self._remove_leftovers):
            yield

    def _make_directory(self) -> None:
        with explained_os_errors(self.directory), parent_takes_files(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)

    def _remove_leftovers(self) -> None:
        for path in self.directory.glob(f"{MAKING}*"):
            if _is_ours(path):
                _remove(path)

    def _check(self) -> None:
        if self.directory.exists() and not self.directory.is_dir():
            raise OutputError(
                f"{self.directory} is not a directory",
                expected="the directory of a cache",
                hint="--directory or $MMEDGE_CACHE names it",
            )

    def forget(self, key: str) -> None:
        """Drop a finished stage whose result is not to be met again."""
        shutil.rmtree(self.directory / key, ignore_errors=True)

    def load(self, key: str) -> Artifact | None:
        """The artifact of a finished stage, if every file it stands on is there and whole."""
        directory = self.directory / key
        try:
            kept = msgspec.json.decode((directory / ARTIFACT).read_bytes(), type=_Kept)
            finished = (directory / ARTIFACT).stat().st_mtime_ns
            facts = [((directory / name).stat(), size) for name, size in kept.sizes.items()]
            # A bundle may share large files with the cache: what was written to later is spoilt.
            whole = all(s.st_size == size and s.st_mtime_ns <= finished for s, size in facts)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None
        there = whole and all(path.exists() for path in kept.artifact.files())
        return kept.artifact if there else None

    def make(self, key: str, run: Callable[[Path], Artifact]) -> Artifact:
        """Run a stage in a new directory and keep it under `key` if it succeeds."""
        final = self.directory / key
        self._make_directory()
        # Known before it is there, so that an interrupt in between leaves nothing.
        work = self.directory / f"{MAKING}{secrets.token_hex(4)}"
        try:
            try:
                with (
                    explained_os_errors(self.directory),
                    parent_takes_files(self.directory / MAKING),
                ):
                    _remove(final)
                    work.mkdir(mode=0o700)
                return self._made(key, work, run)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        except BaseException:  # it may have come while the directory was removed
            shutil.rmtree(work, ignore_errors=True)
            raise

    def _made(self, key: str, work: Path, run: Callable[[Path], Artifact]) -> Artifact:
        final = self.directory / key
        with explained_os_errors(self.directory):
            artifact = _moved(run(work), work, final)
            kept = _Kept(artifact, _sizes(work))
            (work / ARTIFACT).write_bytes(msgspec.json.encode(kept, enc_hook=as_plain))
            _put_in_place(work, final)
        # Another compile may have been first with the same key: its files are the ones there.
        return self.load(key) or artifact

    def entries(self) -> list[Entry]:
        """Every finished stage, newest first. Raises OutputError where the cache is a file."""
        self._check()
        found = []
        for path in self.directory.glob(f"*/{ARTIFACT}"):
            artifact = self.load(path.parent.name)
            if artifact is not None:
                stage = next(reversed(artifact.records), "")
                size = directory_bytes(path.parent)
                name = artifact.provenance.name
                found.append(Entry(path.parent.name, stage, name, size, path.stat().st_mtime))
        return sorted(found, key=lambda entry: -entry.modified)

    def clear(self, *, older_than_days: float = 0.0) -> tuple[int, int]:
        """Remove entries and leftovers of killed compiles; (how many, how many bytes).

        Whatever else is in the directory stays. Raises OutputError while a compile uses the cache.
        """
        self._check()
        if not self.directory.is_dir():
            return 0, 0
        limit = time.time() - older_than_days * 86400
        removed = freed = 0
        with _locked(self.directory, fcntl.LOCK_EX | fcntl.LOCK_NB):
            for path in self.directory.iterdir():
                if _is_ours(path) and path.stat().st_mtime <= limit:
                    freed += directory_bytes(path)
                    removed += 1
                    _remove(path)
        return removed, freed


@contextmanager
def _locked(
    directory: Path, how: int, *, alone: Callable[[], None] | None = None
) -> Iterator[None]:
    """An advisory lock on the directory itself: a cache on a read-only disk can be used too.

    alone: what to do first if nobody else holds a lock.
    """
    handle = os.open(directory, os.O_RDONLY)
    try:
        if alone is not None:
            with suppress(OSError):  # somebody holds one, or a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                alone()
        try:
            fcntl.flock(handle, how)
        except BlockingIOError:
            raise OutputError(
                f"the cache {directory} is in use",
                expected="no compile that uses it",
                hint="wait for the compile to end",
            ) from None
        except OSError:
            pass  # a file system without locks (some NFS): as good as it gets there
        yield
    finally:
        os.close(handle)


def _is_ours(path: Path) -> bool:
    named = KEY.fullmatch(path.name) or path.name.startswith(MAKING)
    return bool(named) and path.is_dir() and not path.is_symlink()


def _remove(entry: Path) -> None:
    """Remove an entry; one that is half removed is no entry any more."""
    (entry / ARTIFACT).unlink(missing_ok=True)
    shutil.rmtree(entry, ignore_errors=True)


def _sizes(directory: Path) -> dict[str, int]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.stat().st_size for path in files}


def _moved(artifact: Artifact, work: Path, final: Path) -> Artifact:
    """The artifact with paths in `work` rewritten to where the directory will be."""
    text = msgspec.json.encode(artifact, enc_hook=as_plain).decode()
    escaped = json.dumps(str(work))[1:-1]
    return msgspec.json.decode(text.replace(escaped, json.dumps(str(final))[1:-1]), type=Artifact)


def _put_in_place(work: Path, final: Path) -> None:
    """Rename; where another compile was first with the same key, its result is as good."""
    try:
        os.rename(work, final)
    except OSError:
        if not (final / ARTIFACT).exists():
            raise
