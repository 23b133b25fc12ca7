"""`mmedge kernels` on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmedge.cli import main
from mmedge.errors import BuildError, MissingDependencyError, OutputError, ProjectError
from mmedge.kernels.kernel_table import read_kernel_table

Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """The exit code, and the JSON on stdout."""

    def run_command(*words: str) -> tuple[int, Any]:
        with pytest.raises(SystemExit) as done:
            main(["kernels", *words, "--json"])
        assert isinstance(done.value.code, int)
        return done.value.code, json.loads(capsys.readouterr().out)

    return run_command


def test_list(run: Run) -> None:
    code, facts = run("list")
    assert code == 0
    table = read_kernel_table("attention")
    (row,) = facts["kernels"]
    assert row["kernel"] == "attention"
    assert row["op"] == "mmedge::FusedAttention"
    assert row["compute_capabilities"] == list(table.compute_capabilities)
    assert (facts["nvcc"] is None) != (facts["no_nvcc"] is None)


def test_list_without_nvcc_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CUDACXX", str(tmp_path / "nvcc"))
    code, facts = run("list")
    assert (code, facts["nvcc"]) == (0, None)
    assert "CUDACXX names no compiler" in facts["no_nvcc"]


@pytest.mark.parametrize(
    ("words", "error", "told"),
    [
        (("build", "atention"), ProjectError, "no kernel 'atention'"),
        (("build", "--target", "cpu"), ProjectError, "no GPU"),
        (("build", "--target", "no-such"), ProjectError, "no-such"),
        (("build", "--compute-capability", "7.5"), BuildError, "need a newer GPU"),
        (("build", "--compute-capability", "13.9"), BuildError, "not built for"),
        (("build", "--target", "rtx-4060", "--output", "/proc/no"), OutputError, "cannot be made"),
        (("build", "--compute-capability", "sm_86"), ProjectError, "sm_86"),
        (
            ("build", "--plugin", "--tensorrt-include", "/nowhere"),
            MissingDependencyError,
            "TensorRT's headers",
        ),
    ],
)
def test_what_cannot_be_built(
    run: Run, words: tuple[str, ...], error: type[ProjectError], told: str
) -> None:
    code, facts = run(*words, "-q")
    assert code == error.exit_code
    assert told in facts["message"]


def test_build_without_nvcc(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDACXX", str(tmp_path / "nvcc"))
    code, facts = run("build", "--compute-capability", "8.6", "-q")
    assert code == MissingDependencyError.exit_code
    assert facts["found"] == str(tmp_path / "nvcc")
