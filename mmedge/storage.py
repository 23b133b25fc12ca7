"""Files that are whole or not there: atomic directories, hashes, one writer at a time."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO

from mmedge.errors import OutputError

REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a parent of it is a file",
    errno.EEXIST: "a parent of it is a file",
    errno.ENAMETOOLONG: "its name is too long",
    errno.EBUSY: "it is a mount point",
    errno.EISDIR: "it is a directory",
}
# What to do besides choosing another output, where there is something.
REMEDIES = {
    errno.ENOSPC: "free space, or ",
    errno.EDQUOT: "free space, or ",
    errno.EACCES: "make it and the directory that it is in writable, or ",
    errno.EPERM: "make it and the directory that it is in writable, or ",
}


# A compile asks for the hash of a checkpoint three times; of small files it costs nothing, and
# they may be rewritten faster than a clock ticks.
LARGE_BYTES = 64 << 20


def sha256_file(path: Path) -> str:
    """The file's SHA-256 as hexadecimal; of a large file that did not change, read once."""
    stat = path.stat()
    if stat.st_size < LARGE_BYTES:
        return _sha256(path)
    return _known_sha256(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))


@lru_cache(maxsize=256)
def _known_sha256(path: Path, _identity: tuple[int, ...]) -> str:
    return _sha256(path)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def directory_bytes(directory: Path) -> int:
    """Size of all files below `directory`, in bytes."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


# How the temporary name of a directory that is being written ends.
PART = ".part"
# What a directory that is being replaced is called in the meantime, inside one of our own.
REPLACED = "replaced"


@contextmanager
def atomic_directory(target: Path, *, ours: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield a temporary directory that becomes `target` when the block succeeds.

    An existing `target` is replaced only if it is empty or `ours` says that mmedge wrote it (so
    that a mistyped path never deletes somebody's work). On any exception, Ctrl-C too, nothing is
    left behind.
    """
    check_replaceable(target, ours=ours)
    with explained_os_errors(target), parent_takes_files(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=PART, dir=target.parent))
    try:
        with explained_os_errors(target):
            work.chmod(0o755)
            yield work
            _swap(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def atomic_file(target: Path) -> Iterator[BinaryIO]:
    """Yield a stream whose bytes become exactly the file `target` when the block succeeds.

    Links are followed. Raises OutputError where its directory is not there and where `target` is
    a directory or a device. On any exception nothing is left behind.
    """
    check_directory_of(target)
    if target.exists() and not target.is_file():
        raise OutputError(f"{target} is not a file", hint="name the file that is to be written")
    target = target.resolve()
    with explained_os_errors(target), parent_takes_files(target):
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=PART, dir=target.parent)
    work = Path(name)
    try:
        with explained_os_errors(target):
            with os.fdopen(handle, "wb") as stream:
                yield stream
            work.chmod(0o644)
            work.replace(target)
    finally:
        work.unlink(missing_ok=True)


def check_directory_of(target: Path) -> None:
    """Raise OutputError if the directory for the file `target` is not there: a mistyped path."""
    if not target.parent.is_dir():
        raise OutputError(
            f"{target} cannot be written: there is no directory {target.parent}",
            hint=f"mkdir -p {target.parent}, or choose another output",
        )


def check_replaceable(target: Path, *, ours: Callable[[Path], bool]) -> None:
    """Raise OutputError if `target` exists and is not something mmedge wrote."""
    with explained_os_errors(target):
        if not os.path.lexists(target):
            return
        if target.is_dir() and (not any(target.iterdir()) or ours(target)):
            return
    raise OutputError(
        f"{target} exists and was not written by mmedge",
        expected="a path that does not exist, an empty directory, or an untouched bundle",
        hint="choose another output, or remove it yourself",
    )


@contextmanager
def exclusive(target: Path) -> Iterator[None]:
    """Hold the right to write `target`; OutputError names the process that already does."""
    lock = target.parent / f".{target.name}.lock"
    with explained_os_errors(target), parent_takes_files(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle = _locked(lock, target)
    try:
            _check_removable(target)
        with explained_os_errors(target):
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
        _remove_leftovers(target)
        yield
    finally:
        lock.unlink(missing_ok=True)
def _check_removable(target: Path) -> None:
    """Raise the system's own error where a directory that is to be replaced could not be moved."""
    for root, _, _ in os.walk(target):
        if not os.access(root, os.W_OK | os.X_OK):
            read_only = os.statvfs(root).f_flag & os.ST_RDONLY
            code = errno.EROFS if read_only else errno.EACCES
            raise OSError(code, os.strerror(code), root)


        with suppress(OSError):  # a full disk was told above
            handle.close()


def _remove_leftovers(target: Path) -> None:
    """What a killed writer of `target` left beside it; the lock says that nobody writes now.

    Killed between its two renames, it left no target but the old one, which is put back.
    """
    name = re.escape(target.name)
    ours = re.compile(rf"\.{name}\.[a-z0-9_]{{8}}{re.escape(PART)}")
    replaced = re.compile(rf"\.{name}\.old\.[a-z0-9_]{{8}}")
    for path in target.parent.iterdir():
        if replaced.fullmatch(path.name) and not os.path.lexists(target):
            with suppress(OSError):
                os.rename(path / REPLACED, target)
        if ours.fullmatch(path.name) or replaced.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def _locked(lock: Path, target: Path) -> TextIOWrapper:
    """The lock file, open and locked."""
    while True:
        handle = lock.open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with handle:
                handle.seek(0)
                raise _busy(target, lock, handle.read().strip() or "unknown") from None
        # Between opening and locking, the last holder may have removed the file: then others
        # would lock a new one, and this lock would keep nobody out.
        if _is_still_there(handle, lock):
            return handle
        handle.close()


def _is_still_there(handle: TextIOWrapper, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _busy(target: Path, lock: Path, holder: str) -> OutputError:
    return OutputError(
        f"another process is writing {target}",
        found=f"process {holder} holds {lock}",
        hint="wait for it, or choose another output",
    )


@contextmanager
def parent_takes_files(target: Path) -> Iterator[None]:
    """Explain a parent such as /proc, which is there and has no place for files."""
    try:
        yield
    except FileNotFoundError as error:
        raise OutputError(
            f"{target} cannot be written: nothing can be made in {target.parent}",
            found=error,
            hint="choose another output",
        ) from error


@contextmanager
def explained_os_errors(target: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write into OutputError."""
    try:
        yield
    except OSError as error:
        code = error.errno or 0
        if code not in REASONS and "requested and" in str(error):
            code = errno.ENOSPC  # numpy's tofile gives no errno for a short write
        if code not in REASONS:
            raise
        raise OutputError(
            f"{target} cannot be written: {REASONS[code]}",
            found=error,
            hint=f"{REMEDIES.get(code, '')}choose another output; nothing was left behind",
        ) from error


def _swap(work: Path, target: Path) -> None:
    """Put `work` at `target`; what was there is removed only after the new one is in place."""
    if not target.exists():
        os.rename(work, target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    try:
        os.rename(target, old / REPLACED)
        os.rename(work, target)
    finally:
        if not os.path.lexists(target) and os.path.lexists(old / REPLACED):
            os.rename(old / REPLACED, target)
        _remove_whole(old)


def _remove_whole(directory: Path) -> None:
    """Remove it, also when an interrupt comes in between: then once more, to the end."""
    try:
        shutil.rmtree(directory, ignore_errors=True)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
