from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from mmedge import pipeline
from mmedge.artifact import Artifact, Provenance
from mmedge.cache import ARTIFACT, StageCache, code_digest, default_cache_directory, key_of
from mmedge.errors import OutputError, VerificationError
from mmedge.pipeline import STAGES, compile_project
from mmedge.profiling.stages import Measure
from mmedge.runtime import load

WriteProject = Callable[..., Path]
NAMES = [stage.name for stage in STAGES]
SETTINGS: dict[str, Any] = {"threads": 1, "measure_seconds": 0}

COMPILE = """
import json, sys
from mmedge.pipeline import compile_project

compiled = compile_project(
    sys.argv[1], output=sys.argv[2], cache=__import__("pathlib").Path(sys.argv[3]),
    threads=1, measure_seconds=0,
)
print(json.dumps({"stages": compiled.report["stages"], "modules": sorted(sys.modules)}))
"""


class MissedError(Exception):
    """A stage was about to run."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, write_project: WriteProject) -> Path:
    """A directory with `project` and the `cache` of its compile."""
    directory = tmp_path_factory.mktemp("plain")
    write_project(directory / "project")
    compile_project(
        directory / "project",
        output=directory / "out.mmedge",
        cache=directory / "cache",
        **SETTINGS,
    )
    return directory


@pytest.fixture
def first_to_run(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str | None]:
    """The first stage that a compile does not find in the cache; each later one has a new key."""

    def find(
        project: Path = plain / "project", cache: Path = plain / "cache", **settings: Any
    ) -> str | None:
        loads: list[str] = []
        real = StageCache.load

        def counted(store: StageCache, key: str) -> Artifact | None:
            loads.append(key)
            return real(store, key)

        def refuse(*_arguments: object) -> Artifact:
            raise MissedError

        with monkeypatch.context() as patch:
            patch.setattr(StageCache, "load", counted)
            patch.setattr(StageCache, "make", refuse)
            try:
                compile_project(
                    project,
                    output=tmp_path / "out.mmedge",
                    cache=cache,
                    **{**SETTINGS, **settings},
                )
            except MissedError:
                return NAMES[len(loads) - 1]
        assert len(loads) == len(NAMES)
        return None

    return find


def copied(cache: Path, to: Path) -> Path:
    """A copy of a cache; its entries hold absolute paths."""
    shutil.copytree(cache, to)
    for path in to.glob(f"*/{ARTIFACT}"):
        path.write_text(path.read_text().replace(str(cache), str(to)))
    return to


def started(
    project: Path, output: Path, cache: Path, *flags: str
) -> tuple[subprocess.Popen[str], IO[str]]:
    """A compile in a process of its own, and its progress."""
    command = [sys.executable, "-m", "mmedge", "compile", str(project), "-o", str(output)]
    process = subprocess.Popen(
        [*command, "--measure-seconds", "0", "--threads", "1", *flags],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "MMEDGE_CACHE": str(cache), "PYTHONUNBUFFERED": "1"},
    )
    assert process.stderr is not None
    return process, process.stderr


def wait_for(progress: IO[str], text: str) -> None:
    seen = []
    for line in progress:
        seen.append(line)
        if text in line:
            return
    raise AssertionError("".join(seen))


def test_the_second_compile_runs_nothing_and_imports_no_torch(
    tiny_system: Any, tmp_path: Path, run_python: Callable[..., Any]
) -> None:
    output = tmp_path / "again.mmedge"
    done = run_python(COMPILE, tiny_system.project, output, tiny_system.cache)
    assert not done.returncode, done.stderr
    facts = json.loads(done.stdout)
    assert [(s["stage"], s["cached"]) for s in facts["stages"]] == [(n, True) for n in NAMES]
    # onnx_ir comes with the graph passes; it is small, and brings onnx.
    heavy = {"torch", "onnxscript", "transformers", "onnxruntime", "PIL"}
    assert not heavy & set(facts["modules"])
    for name in ("engines/fusion.onnx", "golden.npz"):
        assert (output / name).read_bytes() == (tiny_system.bundle / name).read_bytes()


@pytest.mark.parametrize(
    ("settings", "stage"),
    [
        ({}, None),
        ({"trust_pickle": True}, "load"),
        ({"opset": 20}, "export"),
        ({"target": "cpu-opset18"}, "export"),
        # Of the same opset, with another table of what its passes may write.
        ({"target": "rtx-3060-12g"}, "rewrite"),
        ({"debug": True}, "rewrite"),
        ({"tolerance": 1e-3}, "verify"),
        ({"max_drop": 0.5}, "verify"),
        ({"threads": 2}, "quantize"),
        ({"measure_seconds": 1}, "measure"),
        ({"allow_slower": True}, "measure"),
    ],
)
def test_a_setting_invalidates_the_stages_that_read_it(
    first_to_run: Callable[..., str | None], settings: dict[str, Any], stage: str | None
) -> None:
    assert first_to_run(**settings) == stage


@pytest.mark.parametrize("name", ["model.py", "weights.pt", "mmedge.toml", "notes.md"])
def test_any_file_of_the_project_invalidates_everything(
    plain: Path, tmp_path: Path, first_to_run: Callable[..., str | None], name: str
) -> None:
    project = Path(shutil.copytree(plain / "project", tmp_path / "copy"))
    assert first_to_run(project) is None  # the same content elsewhere is the same
    with (project / name).open("ab") as stream:
        stream.write(b"\n# changed\n")
    assert first_to_run(project) == "load"


def test_weights_outside_the_project_count(
    plain: Path, tmp_path: Path, first_to_run: Callable[..., str | None]
) -> None:
    project = Path(shutil.copytree(plain / "project", tmp_path / "copy"))
    (project / "weights.pt").rename(tmp_path / "weights.pt")
    toml = (project / "mmedge.toml").read_text().replace("weights.pt", "../weights.pt")
    (project / "mmedge.toml").write_text(toml)
    output, cache = tmp_path / "out.mmedge", tmp_path / "cache"
    first = compile_project(project, output=output, cache=cache, **SETTINGS)
    assert first_to_run(project, cache) is None
    import torch

    state = torch.load(tmp_path / "weights.pt")
    torch.save({name: tensor * 2 for name, tensor in state.items()}, tmp_path / "weights.pt")
    assert first_to_run(project, cache) == "load"
    second = compile_project(project, output=output, cache=cache, **SETTINGS)
    assert first.manifest.files["golden.npz"] != second.manifest.files["golden.npz"]


def test_code_and_tool_versions_invalidate_everything(
    first_to_run: Callable[..., str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = pipeline.tool_versions()
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "tool_versions", lambda: {**versions, "torch": "9.9"})
        assert first_to_run() == "load"
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "code_digest", lambda: "other")
        assert first_to_run() == "load"
    assert first_to_run() is None
    assert code_digest() == code_digest()


def test_a_cached_stage_does_not_bring_its_old_settings(plain: Path, tmp_path: Path) -> None:
    compiled = compile_project(
        plain / "project",
        output=tmp_path / "out.mmedge",
        cache=copied(plain / "cache", tmp_path / "cache"),
        threads=1,
        measure_seconds=0,
        allow_slower=True,
    )
    assert [s["cached"] for s in compiled.report["stages"]] == [n != "measure" for n in NAMES]
    assert compiled.report["provenance"]["config"]["allow_slower"] is True


def test_failures_are_not_kept(plain: Path, tmp_path: Path) -> None:
    cache = copied(plain / "cache", tmp_path / "cache")
    before = sorted(path.name for path in cache.iterdir())
    for _ in range(2):
        with pytest.raises(VerificationError):
            compile_project(
                plain / "project",
                output=tmp_path / "out.mmedge",
                cache=cache,
                **SETTINGS,
                tolerance=1e-12,
            )
        assert sorted(path.name for path in cache.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_a_damaged_entry_is_made_again(plain: Path, tmp_path: Path) -> None:
    cache = copied(plain / "cache", tmp_path / "cache")
    store = StageCache(cache)
    keys = {entry.stage: entry.key for entry in store.entries()}
    graph = next((cache / keys["export"]).glob("*.onnx"))
    graph.write_bytes(graph.read_bytes()[:-1])
    (cache / keys["measure"] / ARTIFACT).write_text("{")
    next((cache / keys["build"]).glob("*.onnx")).unlink()
    assert [store.load(keys[stage]) is not None for stage in NAMES] == [
        stage not in ("export", "build", "verify", "measure") for stage in NAMES
    ]
    compile_project(plain / "project", output=tmp_path / "out.mmedge", cache=cache, **SETTINGS)
    assert all(store.load(keys[stage]) for stage in NAMES)


def test_a_file_that_was_written_to_afterwards_is_made_again(
    plain: Path, tmp_path: Path, first_to_run: Callable[..., str | None]
) -> None:
    cache = copied(plain / "cache", tmp_path / "cache")
    assert first_to_run(cache=cache) is None
    golden = next(cache.glob("*/golden.npz"))
    with golden.open("r+b") as stream:  # the size stays
        stream.write(b"spoilt")
    assert first_to_run(cache=cache) == "verify"


def test_a_killed_compile_goes_on_where_it_was(tmp_path: Path, write_project: WriteProject) -> None:
    project, output = write_project(tmp_path / "project", "tiny"), tmp_path / "out.mmedge"
    store = StageCache(tmp_path / "cache")
    process, progress = started(project, output, store.directory)
    wait_for(progress, "verifying each component")
    process.kill()
    assert process.wait() == -signal.SIGKILL
    done = {entry.stage for entry in store.entries()}
    assert done == set(NAMES[: NAMES.index("verify")])
    assert not output.exists()
    compiled = compile_project(project, output=output, cache=store.directory, **SETTINGS)
    timeline = {s["stage"]: s["cached"] for s in compiled.report["stages"]}
    assert timeline == {name: name in done for name in NAMES}
    with load(output) as bundle:
        inputs, wanted = bundle.golden()
        assert set(bundle.run(inputs)) == set(wanted)
    assert store.clear()[0] == len(NAMES)  # what the killed one left is gone already
    assert not list(store.directory.iterdir())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "out.mmedge", "project"]


@pytest.mark.parametrize(
    ("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")]
)
def test_an_interrupt_leaves_nothing(
    tmp_path: Path, write_project: WriteProject, number: signal.Signals, word: str
) -> None:
    project, cache = write_project(tmp_path / "project"), tmp_path / "cache"
    process, progress = started(project, tmp_path / "out" / "out.mmedge", cache)
    wait_for(progress, "exporting")
    process.send_signal(number)
    assert word in process.communicate()[1]
    assert process.returncode == 128 + number
    assert not list((tmp_path / "out").iterdir())
    assert [entry.stage for entry in StageCache(cache).entries()] == ["load"]
    assert not list(cache.glob(".making-*"))


def test_one_of_two_compiles_into_one_output_wins(
    tmp_path: Path, write_project: WriteProject, run_mmedge: Callable[..., Any]
) -> None:
    project, output = write_project(tmp_path / "project"), tmp_path / "out.mmedge"
    process, progress = started(project, output, tmp_path / "cache")
    wait_for(progress, "loading")
    second = run_mmedge("compile", project, "-o", output, "--json")
    assert second.returncode == 10
    told = json.loads(second.stdout)
    assert told["error"] == "OutputError"
    assert f"process {process.pid} " in told["found"]
    with pytest.raises(OutputError, match="in use"):
        StageCache(tmp_path / "cache").clear()
    assert process.communicate()[1]
    assert process.returncode == 0
    with load(output):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "out.mmedge", "project"]


def test_two_compiles_with_the_same_key_at_once(tmp_path: Path) -> None:
    store = StageCache(tmp_path)
    empty = Provenance("x", "", "", {}, "cpu", {})

    def slow(directory: Path) -> Artifact:
        (directory / "second.txt").write_text("second")
        store.make(key_of("a"), quick)
        return Artifact(empty, golden=str(directory / "second.txt"))

    def quick(directory: Path) -> Artifact:
        (directory / "first.txt").write_text("first")
        return Artifact(empty, golden=str(directory / "first.txt"))

    artifact = store.make(key_of("a"), slow)
    assert Path(str(artifact.golden)).read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == [key_of("a")]


def test_leftovers_stay_while_another_compile_may_need_them(tmp_path: Path) -> None:
    store, left = StageCache(tmp_path), tmp_path / ".making-left"
    with store.in_use():
        left.mkdir()
        with store.in_use():
            assert left.exists()
    with store.in_use():
        assert not left.exists()


@pytest.mark.parametrize("directory", ["/proc/x", "/proc"])
def test_a_cache_where_nothing_can_be_made(directory: str) -> None:
    store = StageCache(Path(directory))
    with pytest.raises(OutputError, match="cannot be written"), store.in_use():
        store.make(key_of("a"), lambda path: pytest.fail(str(path)))


def test_a_file_is_no_cache(tmp_path: Path, run_mmedge: Callable[..., Any]) -> None:
    (tmp_path / "file").touch()
    for flags in ([], ["--clear"]):
        done = run_mmedge("cache", "--directory", tmp_path / "file", *flags)
        assert (done.returncode, done.stdout) == (10, "")
        assert "is not a directory" in done.stderr


def test_clearing_spares_what_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.png").touch()
    (tmp_path / ".ssh").mkdir()
    target = tmp_path / "photos"
    (tmp_path / key_of("link")).symlink_to(target)
    (tmp_path / key_of("entry")).mkdir()
    (tmp_path / ".making-left").mkdir()
    assert StageCache(tmp_path).clear()[0] == 2
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == sorted([".ssh", "photos", key_of("link")])
    assert (target / "one.png").exists()


def test_the_cache_command(plain: Path, tmp_path: Path, run_mmedge: Callable[..., Any]) -> None:
    cache = copied(plain / "cache", tmp_path / "cache")

    def run(*flags: object) -> dict[str, Any]:
        done = run_mmedge("cache", "--directory", cache, "--json", *flags)
        assert done.returncode == 0, done.stderr
        facts: dict[str, Any] = json.loads(done.stdout)
        return facts

    listed = run()["entries"]
    assert {entry["stage"] for entry in listed} == set(NAMES)
    assert {entry["model"] for entry in listed} == {"plain"}
    assert all(entry["size_bytes"] > 0 for entry in listed)
    assert run("--clear", "--older-than", 1)["removed"] == 0
    old = time.time() - 2 * 86400
    for entry in listed[:2]:
        os.utime(cache / entry["key"], (old, old))
    assert run("--clear", "--older-than", 1)["removed"] == 2
    facts = run("--clear")
    assert (facts["removed"], facts["entries"]) == (len(listed) - 2, [])
    assert facts["freed_bytes"] > 0
    assert run_mmedge("cache", "--older-than", 1).returncode == 2
    assert run_mmedge("cache", "--clear", "--older-than", -1).returncode == 2


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMEDGE_CACHE", "/chosen")
    assert default_cache_directory() == Path("/chosen")
    monkeypatch.setenv("MMEDGE_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_cache_directory() == Path("/xdg/mmedge")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_directory() == Path.home() / ".cache" / "mmedge"


def test_a_result_that_says_so_is_not_kept(
    tmp_path: Path, write_project: WriteProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a disturbed measurement does: the next compile runs that stage again, and no other."""
    plain = Measure.run

    def disturbed(stage: Measure, artifact: Artifact, *rest: Any) -> Artifact:
        done = plain(stage, artifact, *rest)
        return done.with_record("measure", {**done.records["measure"], "keep": False})

    monkeypatch.setattr(Measure, "run", disturbed)
    project = write_project(tmp_path / "project", "plain")
    for _ in range(2):
        compiled = compile_project(project, output=tmp_path / "out.mmedge", **SETTINGS)
    assert [s["stage"] for s in compiled.report["stages"] if not s["cached"]] == ["measure"]
