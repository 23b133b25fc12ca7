"""Files that are whole or not there: atomic directories, hashes, one writer at a time."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, BinaryIO

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


# How the temporary name of what is being written ends, and of what is being replaced.
PART = ".{}.part"
OLD = ".old.{}"
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
    work = _name_beside(target, PART)
    try:
        try:
            with explained_os_errors(target), parent_takes_files(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                work.mkdir(mode=0o700)
            with explained_os_errors(target):
                work.chmod(0o755)
                yield work
                _swap(work, target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except BaseException:  # it may have come while the directory was removed
        shutil.rmtree(work, ignore_errors=True)
        raise


def _name_beside(target: Path, ending: str) -> Path:
    """A name for what is temporary; it is known before the thing is there, so that an interrupt
    in between leaves nothing that nobody knows of."""
    return target.parent / f".{target.name}{ending.format(secrets.token_hex(4))}"


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
    work = _name_beside(target, PART)
    try:
        try:
            with explained_os_errors(target), parent_takes_files(target):
                stream = work.open("xb")
            with explained_os_errors(target):
                with stream:
                    yield stream
                work.chmod(0o644)
                work.replace(target)
        finally:
            work.unlink(missing_ok=True)
    except BaseException:  # it may have come while the file was removed
        work.unlink(missing_ok=True)
        raise


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
            _check_removable(target)
            return
    raise OutputError(
        f"{target} exists and was not written by mmedge",
        expected="a path that does not exist, an empty directory, or an untouched bundle",
        hint="choose another output, or remove it yourself",
    )


def _check_removable(target: Path) -> None:
    """Raise the system's own error where a directory that is to be replaced could not be moved."""
    for root, _, _ in os.walk(target):
        if not os.access(root, os.W_OK | os.X_OK):
            read_only = os.statvfs(root).f_flag & os.ST_RDONLY
            code = errno.EROFS if read_only else errno.EACCES
            raise OSError(code, os.strerror(code), root)


@contextmanager
def exclusive(target: Path) -> Iterator[None]:
    """Hold the right to write `target`; OutputError names the process that already does."""
    lock = target.parent / f".{target.name}.lock"
    handles: list[TextIOWrapper] = []
    try:
        try:
            with explained_os_errors(target), parent_takes_files(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                handle = _locked(lock, target, handles)
            with explained_os_errors(target):
                handle.truncate(0)
                handle.write(str(os.getpid()))
                handle.flush()
            _remove_leftovers(target)
            yield
        finally:
            _release(lock, handles)
    except BaseException:  # it may have come while the lock was given back
        _release(lock, handles)
        raise


def _release(lock: Path, handles: list[TextIOWrapper]) -> None:
    """Give the lock back, and remove its file unless that is another process's by now."""
    for handle in handles:
        if not handle.closed:
            _remove_if_free(lock, handle)
            with suppress(OSError):  # a full disk was told before
                handle.close()
    with suppress(OSError), lock.open("rb") as stream:  # after an interrupt: opened and not known
        _remove_if_free(lock, stream)


def _remove_if_free(lock: Path, handle: IO[Any]) -> None:
    """Remove the lock's file if nobody else holds it; whoever has it open sees that it is gone."""
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_still_there(handle, lock):
            lock.unlink()


def _remove_leftovers(target: Path) -> None:
    """What a killed writer of `target` left beside it; the lock says that nobody writes now.

    Killed between its two renames, it left no target but the old one, which is put back.
    """
    name = re.escape(target.name)
    ours, replaced = (
        re.compile(rf"\.{name}" + ending.replace(".", r"\.").format("[a-z0-9_]{8}"))
        for ending in (PART, OLD)
    )
    for path in target.parent.iterdir():
        if replaced.fullmatch(path.name) and not os.path.lexists(target):
            with suppress(OSError):
                os.rename(path / REPLACED, target)
        if ours.fullmatch(path.name) or replaced.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def _locked(lock: Path, target: Path, handles: list[TextIOWrapper]) -> TextIOWrapper:
    """The lock file, open and locked; it is among `handles`, of which it is to be closed."""
    while True:
        handle = lock.open("a+")
        handles[:] = [handle]
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


def _is_still_there(handle: IO[Any], path: Path) -> bool:
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
    old = _name_beside(target, OLD)
    try:
        try:
            old.mkdir(mode=0o700)
            os.rename(target, old / REPLACED)
            os.rename(work, target)
        finally:
            _put_back_or_remove(old, target)
    except BaseException:  # it may have come in between
        _put_back_or_remove(old, target)
        raise


def _put_back_or_remove(old: Path, target: Path) -> None:
    if not os.path.lexists(target) and os.path.lexists(old / REPLACED):
        os.rename(old / REPLACED, target)
    shutil.rmtree(old, ignore_errors=True)
