from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from mmedge import storage
from mmedge.errors import OutputError
from mmedge.pipeline import compile_project
from mmedge.runtime.manifest import is_bundle
from mmedge.storage import (
    atomic_directory,
    atomic_file,
    check_replaceable,
    directory_bytes,
    exclusive,
    explained_os_errors,
    sha256_file,
)

WriteProject = Callable[..., Path]
# Of a disk that is too small is told at once; these are about one that fills during the work.
ANYHOW: dict[str, Any] = {"threads": 1, "measure_seconds": 0, "ignore_estimate": True}
Mount = Callable[..., Path]

HOLD = """
import sys, time
from pathlib import Path
from mmedge.storage import exclusive

with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""

# `mkdir` fails where two are inside at once.
CONTEND = """
import sys
from pathlib import Path
from mmedge.errors import OutputError
from mmedge.storage import exclusive

target = Path(sys.argv[1])
for _ in range(2000):
    try:
        with exclusive(target):
            (target / "inside").mkdir()
            (target / "inside").rmdir()
    except OutputError:
        pass
"""


def marked(directory: Path) -> bool:
    return (directory / "ours").is_file()


def write(target: Path, text: str) -> None:
    with atomic_directory(target, ours=marked) as work:
        (work / "ours").write_text(text)


def fail(target: Path, kind: type[BaseException]) -> None:
    with atomic_directory(target, ours=marked) as work:
        (work / "ours").write_text("half")
        raise kind


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """`mount("-t", "tmpfs", ...)`: a real file system, or a skip where that is not allowed."""
    mounted: list[Path] = []

    def make(*options: str, name: str = "mounted") -> Path:
        point = tmp_path / name
        point.mkdir(exist_ok=True)
        if os.geteuid() != 0:
            pytest.skip("mounting a file system needs root")
        done = subprocess.run(["mount", *options, str(point)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"mounting is not possible here: {done.stderr.strip()}")
        mounted.append(point)
        return point

    yield make
    for point in reversed(mounted):
        subprocess.run(["umount", str(point)], check=True)


def test_hash_and_size_of_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"12")
    assert sha256_file(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223")
    assert directory_bytes(tmp_path) == 5


def test_a_directory_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out"
    with atomic_directory(target, ours=marked) as work:
        (work / "ours").touch()
        assert not target.exists()
    assert [path.name for path in target.parent.iterdir()] == ["out"]
    assert target.stat().st_mode & 0o777 == 0o755


def test_a_file_appears_whole_under_its_very_name(tmp_path: Path) -> None:
    target, link = tmp_path / "out", tmp_path / "link"
    link.symlink_to(target)
    for path, text in ((target, b"first"), (link, b"second")):
        with atomic_file(path) as stream:
            stream.write(text)
        assert target.read_bytes() == text
    assert link.is_symlink()
    with pytest.raises(TypeError), atomic_file(target) as stream:
        stream.writelines([b"half", "no bytes"])  # type: ignore[list-item]
    assert target.read_bytes() == b"second"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "out"]


@pytest.mark.parametrize("name", ["{tmp}", "{tmp}/absent/out", "/proc/out", "/dev/null"])
def test_a_file_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError), atomic_file(Path(name.format(tmp=tmp_path))):
        pytest.fail("nothing was refused")
    assert not list(tmp_path.iterdir())
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_when_the_block_fails(tmp_path: Path, kind: type[BaseException]) -> None:
    with pytest.raises(kind):
        fail(tmp_path / "out", kind)
    assert not list(tmp_path.iterdir())


def test_an_older_one_is_replaced_and_kept_when_the_block_fails(tmp_path: Path) -> None:
    target = tmp_path / "out"
    write(target, "first")
    write(target, "second")
    assert (target / "ours").read_text() == "second"
    with pytest.raises(ZeroDivisionError):
        fail(target, ZeroDivisionError)
    assert (target / "ours").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_older_one_comes_back_where_the_new_one_cannot_be_put_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    write(target, "first")
    rename = os.rename

    def refuse(source: Path, to: Path) -> None:
        if Path(to) == target and Path(source).name != "replaced":
            raise OSError(errno.ENOSPC, "No space left on device")
        rename(source, to)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(OutputError, match="the disk is full"):
        write(target, "second")
    assert (target / "ours").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").touch()
    with pytest.raises(OutputError, match="not written by mmedge"):
        check_replaceable(tmp_path / "work", ours=marked)
    with pytest.raises(OutputError, match="not written by mmedge"):
        check_replaceable(tmp_path / "work" / "thesis.tex", ours=marked)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="not written by mmedge"):
        check_replaceable(tmp_path / "dangling", ours=marked)
    (tmp_path / "empty").mkdir()
    check_replaceable(tmp_path / "empty", ours=marked)


def test_only_an_untouched_bundle_counts_as_ours(tmp_path: Path, tiny_bundle: Path) -> None:
    assert is_bundle(tiny_bundle)
    (tiny_bundle / "golden.npz").write_bytes(b"damaged, still ours")
    assert is_bundle(tiny_bundle)
    (tiny_bundle / "notes.txt").touch()
    assert not is_bundle(tiny_bundle)
    extension = tmp_path / "extension"
    extension.mkdir()
    (extension / "manifest.json").write_text(json.dumps({"manifest_version": 3, "name": "x"}))
    assert not is_bundle(extension)


@pytest.mark.parametrize(
    ("code", "reason"),
    [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "quota"), (errno.EROFS, "read-only")],
)
def test_refusals_of_the_system_are_explained(tmp_path: Path, code: int, reason: str) -> None:
    with pytest.raises(OutputError, match=reason) as caught, explained_os_errors(tmp_path):
        raise OSError(code, os.strerror(code))
    assert ("free space" in str(caught.value.details["try"])) == (code != errno.EROFS)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM])
def test_space_does_not_help_where_permission_is_denied(tmp_path: Path, code: int) -> None:
    with pytest.raises(OutputError, match="denied") as caught, explained_os_errors(tmp_path):
        raise OSError(code, os.strerror(code))
    assert "writable" in str(caught.value.details["try"])
    assert "space" not in str(caught.value.details["try"])


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is denied to root")
@pytest.mark.parametrize("inside", ["", "engines"])
def test_what_cannot_be_replaced_is_refused_before_the_work(tmp_path: Path, inside: str) -> None:
    target = tmp_path / "out"
    (target / "engines").mkdir(parents=True)
    (target / inside).chmod(0o555)
    try:
        with pytest.raises(OutputError, match="permission denied"):
            check_replaceable(target, ours=lambda _path: True)
    finally:
        (target / inside).chmod(0o755)


def test_what_lies_on_a_read_only_disk_is_refused_before_the_work(
    tmp_path: Path, mount: Mount
) -> None:
    disk = mount("-t", "tmpfs", "tmpfs", name="out")
    (disk / "engines").mkdir()
    check_replaceable(disk, ours=lambda _path: True)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(OutputError, match="read-only"):
        check_replaceable(disk, ours=lambda _path: True)


def test_other_errors_of_the_system_are_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), explained_os_errors(tmp_path):
        (tmp_path / "missing").read_text()


def test_a_path_that_no_file_system_takes(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for target in (tmp_path / "file" / "out", tmp_path / "file" / "deep" / "out"):
        with pytest.raises(OutputError, match="a parent of it is a file"):
            write(target, "")
        with pytest.raises(OutputError, match="a parent of it is a file"), exclusive(target):
            pass
    with pytest.raises(OutputError, match="its name is too long"):
        write(tmp_path / ("x" * 300), "")


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(target)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="another process") as caught, exclusive(target):
            pass
        assert f"process {holder.pid} " in str(caught.value)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with exclusive(target):  # the lock of a killed process holds nobody up
            pass
    assert not list(tmp_path.iterdir())


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    target, other = tmp_path / "a.mmedge", tmp_path / "a"
    leftovers = []
    for path in (target, other):
        code = (
            "import os, signal, sys; from pathlib import Path\n"
            "from mmedge.storage import atomic_directory\n"
            "with atomic_directory(Path(sys.argv[1]), ours=lambda p: True) as work:\n"
            "    (work / 'half').write_text('x'); os.kill(os.getpid(), signal.SIGKILL)"
        )
        killed = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
        assert killed.returncode == -signal.SIGKILL
        leftovers.append(next(p for p in tmp_path.iterdir() if p not in leftovers))
    with exclusive(target):
        assert [path.exists() for path in leftovers] == [False, True]


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_again(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    command = [sys.executable, "-c", CONTEND, str(target)]
    crowd = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[1] for process in crowd] == ["", "", ""]


def test_a_full_disk_for_the_output(
    tmp_path: Path, write_project: WriteProject, mount: Mount
) -> None:
    disk = mount("-t", "tmpfs", "-o", "size=64k", "tmpfs")
    project = write_project(tmp_path / "project")
    (disk / "filler").write_bytes(b"x" * 60_000)
    with pytest.raises(OutputError, match="the disk is full"):
        compile_project(project, output=disk / "out.mmedge", **ANYHOW)
    assert [path.name for path in disk.iterdir()] == ["filler"]


def test_a_disk_that_is_full_to_the_last_byte(
    tmp_path: Path, write_project: WriteProject, mount: Mount
) -> None:
    disk = mount("-t", "tmpfs", "-o", "size=64k", "tmpfs")
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as stream:
        while stream.write(b"x" * 4096):
            pass
    assert os.statvfs(disk).f_bavail == 0
    with pytest.raises(OutputError, match="the disk is full"):
        compile_project(
            write_project(tmp_path / "project"), output=disk / "out.mmedge", measure_seconds=0
        )
    assert [path.name for path in disk.iterdir()] == ["filler"]


@pytest.mark.parametrize("free_kb", [4, 12, 24])
def test_a_full_disk_for_the_cache(
    tmp_path: Path, write_project: WriteProject, mount: Mount, free_kb: int
) -> None:
    disk = mount("-t", "tmpfs", "-o", f"size={free_kb}k", "tmpfs")
    output = tmp_path / "out.mmedge"
    project = write_project(tmp_path / "project")
    with pytest.raises(OutputError, match="the disk is full") as caught:
        compile_project(project, output=output, cache=disk, **ANYHOW)
    assert str(disk) in caught.value.what
    assert not list(disk.glob(".making-*"))
    assert not output.exists()
    assert not list(tmp_path.glob(".out*"))


def test_a_full_disk_for_large_weights(tmp_path: Path, mount: Mount) -> None:
    """Arrays are written by numpy and by onnx_ir, each in its own way."""
    import numpy as np

    disk = mount("-t", "tmpfs", "-o", "size=1m", "tmpfs")
    with pytest.raises(OutputError, match="the disk is full"), explained_os_errors(disk):
        np.save(disk / "large.npy", np.zeros(2**20))


def test_a_read_only_disk(tmp_path: Path, write_project: WriteProject, mount: Mount) -> None:
    disk = mount("-t", "tmpfs", "-o", "ro", "tmpfs")
    project = write_project(tmp_path / "project")
    with pytest.raises(OutputError, match="read-only"):
        compile_project(project, output=disk / "out.mmedge", measure_seconds=0)
    with pytest.raises(OutputError, match="read-only"):
        compile_project(
            project, output=tmp_path / "out.mmedge", cache=disk / "cache", measure_seconds=0
        )
    assert not list(tmp_path.glob("*out*"))


def test_the_hash_of_a_large_file_is_that_of_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "LARGE_BYTES", 1)
    file = tmp_path / "weights"
    for content in (b"one", b"longer", b"another"):
        file.write_bytes(content)
        for _ in range(2):
            assert storage.sha256_file(file) == hashlib.sha256(content).hexdigest()


def test_an_unchanged_large_file_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "LARGE_BYTES", 1)
    file = tmp_path / "weights"
    file.write_bytes(b"content")
    first = storage.sha256_file(file)
    monkeypatch.setattr(storage, "_sha256", lambda path: "read again")
    assert storage.sha256_file(file) == first
    os.utime(file, ns=(1, 1))
    assert storage.sha256_file(file) == "read again"


def test_what_a_killed_swap_left_is_put_back(tmp_path: Path) -> None:
    """Killed after the old one was moved away, and before the new one came."""
    target, old = tmp_path / "out", tmp_path / ".out.old.abcd1234"
    (old / "replaced").mkdir(parents=True)
    (old / "replaced" / "file").write_text("the old one")
    with exclusive(target):
        assert (target / "file").read_text() == "the old one"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_was_replaced_goes_where_the_new_one_is_there(tmp_path: Path) -> None:
    target, old = tmp_path / "out", tmp_path / ".out.old.abcd1234"
    for directory in (target, old / "replaced"):
        directory.mkdir(parents=True)
    with exclusive(target):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_interrupt_in_a_swap_leaves_one_of_the_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """At its first rename, its second, and while the old one is removed."""
    target = tmp_path / "out"
    target.mkdir()
    (target / "file").write_text("old")
    steps = 0

    def interrupted(original: Any) -> Any:
        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == number:
                raise KeyboardInterrupt
            return original(*arguments, **options)

        return step

    def write_new() -> None:
        with atomic_directory(target, ours=lambda _path: True) as work:
            (work / "file").write_text("new")
            monkeypatch.setattr(os, "rename", interrupted(os.rename))
            monkeypatch.setattr(shutil, "rmtree", interrupted(shutil.rmtree))

    with pytest.raises(KeyboardInterrupt):
        write_new()
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (target / "file").read_text() == ("new" if number == 3 else "old")


def interrupted_at(number: int, work: Callable[[], None]) -> bool:
    """Run it, with KeyboardInterrupt before the line with this number of those that run.

    Counted are the lines of the modules that make and remove. False where it is done in fewer.
    """
    lines = 0
    watched = {storage.__file__, contextlib.__file__, shutil.__file__}

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal lines
        if frame.f_code.co_filename not in watched:
            return None
        lines += event == "line"
        if event == "line" and lines == number:
            raise KeyboardInterrupt  # which also ends the tracing
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    except OSError as error:
        # Python's rmtree, interrupted just when it has closed a directory, closes it again.
        if isinstance(error.__context__, KeyboardInterrupt):
            return True
        raise
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("replacing", [False, True])
def test_an_interrupt_anywhere_leaves_nothing_half_written(tmp_path: Path, replacing: bool) -> None:
    """Before every line: of ours and of the library's, of the work and of the cleaning up."""
    target = tmp_path / "out"

    def writing() -> None:
        with exclusive(target):
            write(target, "new")

    found: set[str] = set()
    for number in itertools.count(1):
        shutil.rmtree(target, ignore_errors=True)
        if replacing:
            write(target, "old")
        happened = interrupted_at(number, writing)
        left = {path.name for path in tmp_path.iterdir()}
        assert left <= {"out"}, number
        found.add((target / "ours").read_text() if left else "nothing")
        if not happened:
            break
    assert number > 100
    assert found == {"old", "new"} if replacing else {"nothing", "new"}


def test_an_interrupt_anywhere_leaves_no_half_written_file(tmp_path: Path) -> None:
    target = tmp_path / "out"

    def writing() -> None:
        with atomic_file(target) as stream:
            stream.write(b"new")

    for number in itertools.count(1):
        target.write_bytes(b"old")
        happened = interrupted_at(number, writing)
        assert [path.name for path in tmp_path.iterdir()] == ["out"], number
        assert target.read_bytes() in (b"old", b"new")
        if not happened:
            break
    assert number > 20
