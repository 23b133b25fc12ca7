"""Every command as a user runs it: results on stdout, progress on stderr, a telling exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mmedge import errors
from mmedge.cli import COMMANDS
from mmedge.errors import MmedgeError

Run = Callable[..., Any]
WriteProject = Callable[..., Path]


def test_help_of_every_command(run: Run) -> None:
    listed = run("--help").out
    for command in COMMANDS:
        done = run(command, "--help")
        assert done.code == 0
        assert command in listed
        assert "--json" in done.out
        assert done.out.splitlines()[2].strip(), "a command says what it does"


def test_an_unknown_command_or_option_suggests(run: Run) -> None:
    done = run("complie")
    assert done.code == 2
    assert "Did you mean 'compile'?" in done.err
    done = run("compile", ".", "-o", "x", "--tolerence", "1")
    assert done.code == 2
    assert "--tolerance" in done.err


def test_a_wrong_command_line_is_json_too(run: Run) -> None:
    done = run("compile", "--json", "--no-such-option")
    assert done.code == 2
    assert done.json["exit_code"] == 2
    assert "--no-such-option" in done.json["message"]


KINDS = [MmedgeError, *MmedgeError.__subclasses__(), errors.UntrustedPickleError]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_its_exit_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, kind: type[MmedgeError]
) -> None:
    def fail() -> None:
        raise kind("it broke", found="this", hint="mend it")

    monkeypatch.setattr("mmedge.doctor.examine", fail)
    done = run("doctor", "--json")
    assert done.code == kind.exit_code
    assert done.json == kind("it broke", found="this", hint="mend it").to_dict()
    assert "error: it broke" in done.err
    plain = run("doctor")
    assert (plain.code, plain.out) == (kind.exit_code, "")
    assert "mend it" in plain.err


def test_an_interrupt(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mmedge.doctor.examine", interrupt)
    done = run("doctor", "--json")
    assert done.code == 130
    assert done.json["exit_code"] == 130


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_does_not_stop_the_cleaning_up(
    run: Run, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    cleaned = []

    def interrupted_twice() -> None:
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)
            cleaned.append(True)

    before = signal.getsignal(number)
    monkeypatch.setattr("mmedge.doctor.examine", interrupted_twice)
    assert run("doctor").code == code
    assert cleaned
    assert signal.getsignal(number) is before


def test_an_ignored_interrupt_stays_ignored(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of what a shell runs in its background."""
    monkeypatch.setattr("mmedge.doctor.examine", lambda: signal.raise_signal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert run("doctor", "--json").code != 130
    finally:
        signal.signal(signal.SIGINT, before)


def test_results_and_progress_do_not_mix(tiny_system: Any, run_mmedge: Any, tmp_path: Path) -> None:
    words = ["compile", tiny_system.project, "-o", tmp_path / "out.mmedge"]
    words += ["--threads", 1, "--measure-seconds", 0]
    environment = {"MMEDGE_CACHE": str(tiny_system.cache)}
    done = run_mmedge(*words, "--json", env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bundle"] == str(tmp_path / "out.mmedge")
    assert "writing the bundle" in done.stderr
    done = run_mmedge(*words, "--quiet", env=environment)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "accuracy/logits on 6 samples" in done.stdout


def test_verify(run: Run, tiny_bundle: Path, tiny_system: Any) -> None:
    done = run("verify", tiny_bundle, "--json")
    assert done.code == 0
    assert set(done.json["outputs"]) == {"logits", "answer"}
    assert "allowed" in run("verify", tiny_bundle).out
    done = run("verify", tiny_bundle, "--against", tiny_system.project, "--json", "--threads", 1)
    assert done.json["against"]["task"]["metric"] == "accuracy/logits"
    (tiny_bundle / "golden.npz").write_bytes(b"damaged")
    done = run("verify", tiny_bundle, "--json")
    assert done.code == 8
    assert done.json["error"] == "BundleError"


def test_verify_against_another_checkpoint(
    run: Run, tiny_bundle: Path, tmp_path: Path, write_project: WriteProject
) -> None:
    other = write_project(tmp_path / "other", "plain")
    done = run("verify", tiny_bundle, "--against", other, "--json")
    assert (done.code, done.json["error"]) == (3, "CheckpointError")


def test_run(run: Run, tiny_bundle: Path, inputs: list[str], tmp_path: Path) -> None:
    saved = tmp_path / "outputs"
    done = run("run", tiny_bundle, *inputs, "--json", "--save", saved)
    assert done.code == 0, done.err
    logits = done.json["logits"]
    assert (logits["shape"], logits["dtype"]) == ([1, 5], "float32")
    assert {a["label"] for a in logits["answers"][0]} <= {"no", "yes", "red", "blue", "two"}
    with np.load(saved) as file:
        np.testing.assert_allclose(file["logits"][0], logits["values"], rtol=1e-6)
    assert "answer" in run("run", tiny_bundle, *inputs).out


def test_outputs_that_json_has_no_number_for() -> None:
    from mmedge.cli.run import _plain

    values = [1.5, float("nan"), float("inf"), float("-inf"), True, 3]
    assert [_plain(value) for value in values] == [1.5, "NaN", "Infinity", "-Infinity", True, 3]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["-i", "image"], "is not NAME=VALUE"),
        (["-i", "imgae={good}"], "there is no input 'imgae'"),
        (["-i", "image={tmp}/missing.npy"], "is not a numpy array file"),
        (["-i", "image={tmp}/empty.npy"], "is not a numpy array file"),
        (["-i", "image={tmp}/pickled.npy"], "is not a numpy array file"),
        (["-i", "image={tmp}/archive.npy"], "is not a numpy array file"),
        (["-i", "image={tmp}/double.npy"], "takes a tensor"),
        (["-i", "image=photo.png"], "takes a tensor"),
        (["-i", "image={good}", "-i", "image={good}"], "given twice"),
        (["-i", "image={good}"], "'question' is missing"),
        ([], "is missing"),
    ],
)
def test_run_refuses_what_does_not_fit(
    run: Run, tiny_bundle: Path, tmp_path: Path, words: list[str], problem: str
) -> None:
    good = tmp_path / "good.npy"
    np.save(good, np.zeros((1, 3, 12, 12), "float32"))
    np.save(tmp_path / "double.npy", np.zeros((1, 3, 12, 12)))
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with (tmp_path / "archive.npy").open("wb") as stream:
        np.savez(stream, x=np.zeros(3))
    (tmp_path / "empty.npy").touch()
    filled = [word.format(tmp=tmp_path, good=good) for word in words]
    done = run("run", tiny_bundle, *filled, "--json")
    assert done.code == 11
    assert problem in done.err
    assert done.json["error"] == "InputError"


def test_run_cannot_save(run: Run, tiny_bundle: Path, inputs: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    for name in ("file/outputs.npz", "absent/outputs.npz", "."):
        done = run("run", tiny_bundle, *inputs, "--save", tmp_path / name, "--json")
        assert done.code == 10
        assert done.json["error"] == "OutputError"
    assert sorted(tmp_path.rglob("*")) == before


def test_inspect(run: Run, tiny_bundle: Path, tiny_system: Any, tmp_path: Path) -> None:
    for path, kind in (
        (tiny_bundle, "bundle"),
        (tiny_system.project, "project"),
        (tiny_system.project / "mmedge.toml", "project"),
        (tiny_system.project / "weights.pt", "checkpoint"),
    ):
        done = run("inspect", path, "--json")
        assert done.code == 0, done.err
        assert done.json["kind"] == kind
        assert run("inspect", path).out
    (tmp_path / "garbage").write_bytes(b"\0garbage\xff" * 100)
    done = run("inspect", tmp_path / "garbage", "--json")
    assert (done.code, done.json["error"]) == (3, "CheckpointError")
    done = run("inspect", tmp_path / "missing", "--json")
    assert (done.code, done.json["error"]) == (3, "ProjectError")
    (tiny_bundle / "extra").touch()
    assert run("inspect", tiny_bundle).code == 8


def test_inspect_of_a_bundle_with_a_processor(run: Run, vlm: Any, tmp_path: Path) -> None:
    """Files and texts first; a tensor that nothing makes is told to be one."""
    text = {"method": "plain", "tokens": {"file": "tokenizer.json"}}
    processor = {"kind": "huggingface", "processor": "Tiny", "text": text}
    wiring = vlm.wiring()
    plain = tuple(msgspec.structs.replace(item, preprocess={}) for item in wiring.inputs)
    path = tmp_path / "tiny.mmedge"
    path.mkdir()
    vlm.tokenizer_json(path / "tokenizer.json")
    wiring = msgspec.structs.replace(wiring, inputs=plain)
    vlm.write(path, wiring, vlm.graphs(), processor=processor)
    tensors = ["input_ids", "attention_mask"]
    done = run("inspect", path, "--json")
    assert done.json["raw_inputs"] == {"text": {"modality": "text", "tensors": tensors}}
    lines = run("inspect", path).out.splitlines()
    assert "takes text: a text, made into input_ids, attention_mask" in lines
    (pixels,) = [line for line in lines if line.startswith("input pixel_values")]
    assert pixels.endswith("takes the tensor itself")
    (ids,) = [line for line in lines if line.startswith("input input_ids")]
    assert ids.endswith("made from text")


def test_doctor_and_targets(run: Run) -> None:
    facts = run("doctor", "--json").json
    assert {part["library"] for part in facts["parts"]} >= {"torch", "onnxruntime", "PIL"}
    assert "CPUExecutionProvider" in facts["providers"]
    assert "submodules" in run("doctor").out
    names = {target["name"] for target in run("targets", "--json").json}
    assert "cpu" in names
    assert run("targets", "cpu", "--json").json["backend"] == "onnxruntime"
    shown = run("targets", "cpu").out
    assert "intra_op = 0" in shown
    assert not set("()[]{}") & set(shown)
    assert "None" not in shown
    done = run("targets", "cup", "--json")
    assert done.code == 3
    assert "'cpu'" in done.json["try"]


def test_a_broken_target_file_is_named_and_the_others_are_listed(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    directory = tmp_path / "mmedge" / "targets"
    directory.mkdir(parents=True)
    (directory / "bad.toml").write_text("name = ")
    done = run("targets")
    assert done.code == 0
    assert "rtx-4060" in done.out
    assert "target bad cannot be used: the file is not valid TOML" in done.err
    assert run("targets", "bad").code == 3
    done = run("doctor", "--json")
    assert done.code == 0
    assert done.json["broken_targets"]["bad"]["where"] == str(directory / "bad.toml")
    assert "cpu" in done.json["targets"]
    assert "bad cannot be used" in " ".join(run("doctor").out.split())


def test_a_target_of_the_user_is_told_to_be_one(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_system: Any
) -> None:
    shipped = run("targets", "cpu", "--json").json["file"]
    assert shipped["ships"] is True
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    mine = tmp_path / "mmedge" / "targets" / "cpu.toml"
    mine.parent.mkdir(parents=True)
    mine.write_text(Path(shipped["path"]).read_text())
    found = run("targets", "cpu", "--json").json["file"]
    assert found == {"path": str(mine), "ships": False, "replaces": shipped["path"]}
    shown = run("targets").out
    assert shown.count("in place of the one that ships") == 1
    words = ["compile", tiny_system.project, "-o", tmp_path / "out.mmedge", "--precision", "bf16"]
    done = run(*words)
    assert done.code == 3  # a cpu has no bf16: nothing is done but to read the target
    lines = done.err.splitlines()
    assert lines[0] == f"· target cpu is from {mine}, in place of {shipped['path']}"
    assert "expecting" not in done.err


def test_every_installed_library_has_a_version(run: Run) -> None:
    versions = {part["library"]: part["version"] for part in run("doctor", "--json").json["parts"]}
    assert "unknown" not in versions.values()


@pytest.mark.parametrize(
    ("size", "message"),
    [("999999TB", "not within 1B and 1TB"), ("0.1B", "not within"), ("1XB", "not a size")],
)
def test_a_workspace_that_is_none(run: Run, size: str, message: str) -> None:
    done = run("build", "any.mmedge", "--workspace", size)
    assert done.code == 2
    assert message in " ".join(done.err.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "rtx-4060", "--precision", "bf16"], "verified in bf16 on this machine"),
        (["--target", "jetson-orin-nano-8", "--opset", "23"], "does not parse opset 23"),
        (["--io-precision", "same"], "io_precision = same does nothing"),
    ],
)
def test_what_cannot_be_had_is_refused_before_the_work(
    run: Run, tiny_system: Any, tmp_path: Path, words: list[str], message: str
) -> None:
    done = run("compile", tiny_system.project, "-o", tmp_path / "out.mmedge", *words)
    assert done.code == 3
    assert message in " ".join(done.err.split())
    assert "expecting" not in done.err  # the first line of a compile that begins
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["manifest.json", "engines"])
def test_inspect_of_a_part_of_a_bundle_names_the_bundle(
    run: Run, tiny_bundle: Path, name: str
) -> None:
    done = run("inspect", tiny_bundle / name, "--json")
    assert done.code == 3
    assert done.json["try"] == f"mmedge inspect {tiny_bundle}"
    graph = next(tiny_bundle.glob("engines/*.onnx"))
    assert run("inspect", graph, "--json").json["try"] == f"mmedge inspect {tiny_bundle}"


def test_doctor_without_anything_optional(run_python: Callable[..., Any]) -> None:
    code = "from mmedge.cli import main; main(['doctor', '--json'])"
    done = run_python(code, without=["torch", "onnxruntime", "onnx", "PIL", "transformers"])
    assert done.returncode == 0, done.stderr
    parts = {part["library"]: part for part in json.loads(done.stdout)["parts"]}
    assert parts["torch"]["install"] == "mmedge[compile]"


def test_init_writes_once(run: Run, tiny_system: Any, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    weights.write_bytes((tiny_system.project / "weights.pt").read_bytes())
    done = run("init", weights, "--json")
    assert done.code == 0, done.err
    written = Path(done.json["written"])
    assert written.read_text() == done.json["text"]
    written.write_text("mine")
    done = run("init", weights, "--json")
    assert done.code in (3, 10)
    assert written.read_text() == "mine"
    assert run("init", weights, "--force").code == 0
    assert "weights.pt" in written.read_text()


def test_profile(run: Run, tiny_bundle: Path) -> None:
    done = run("profile", tiny_bundle, "--seconds", 0.2, "--threads", 1, "--json", "-q")
    assert done.code == 0, done.err
    assert set(done.json["components"]) == {"question_encoder", "image_encoder", "fusion"}
    assert done.json["end_to_end"]["summaries"]["engine"]["count"] > 0
    assert done.err == ""


@pytest.mark.parametrize("seconds", [0, -1, "nan", "inf"])
def test_a_time_to_measure_that_is_none(run: Run, seconds: object) -> None:
    done = run("profile", "absent", "--seconds", seconds)
    assert done.code == 2
    assert "--seconds" in done.err


@pytest.mark.parametrize("words", [["compile", "-o", "x"], ["verify"], ["run"], ["profile"]])
def test_a_number_of_threads_that_is_none(run: Run, words: list[str]) -> None:
    for threads in (0, -1, 1025):
        done = run(*words, "absent", "--threads", threads)
        assert done.code == 2
        assert "--threads" in done.err


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["targets", "targets --json", "--help", "targets absent --json"])
def test_stdout_that_cannot_be_written(words: str, unbuffered: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mmedge", *words.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            check=False,
        )
    assert done.returncode == 10
    told = done.stderr.splitlines()
    assert "stdout cannot be written" in told[-1]
    assert len(told) == 1 or "absent" in told[0]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_whoever_reads_may_stop(unbuffered: str) -> None:
    command = [sys.executable, "-m", "mmedge", "targets", "--json"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1  # click's, and no traceback
