"""The pieces of building kernels that need no compiler."""

from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedge.errors import BuildError, MissingDependencyError, ProjectError
from mmedge.kernels import toolchain
from mmedge.kernels.kernel_table import (
    Special,
    TileTable,
    instances,
    kernels_directory,
    read_kernel_table,
)
from mmedge.kernels.occupancy import occupancy
from mmedge.kernels.parallel_commands import Command, run_together
from mmedge.kernels.plugin import find_headers
from mmedge.kernels.resources_used import read_report, readable
from mmedge.kernels.toolchain import find_toolchain

TABLE = read_kernel_table("attention")


def table_with(text: str, replacement: str, directory: Path) -> Path:
    shipped = (kernels_directory() / "attention" / "kernel.toml").read_text()
    assert text in shipped
    (directory / "kernel.toml").write_text(shipped.replace(text, replacement))
    return directory


@pytest.mark.parametrize(
    ("text", "replacement", "complaint"),
    [
        ("schema = 1", "schema = 2", "another schema"),
        ("[32, 48,", "[33, 48,", "multiples of 16"),
        ("[budgets]", "[budgets]\nregister = 1", "unknown key 'register'"),
        ("spilled_bytes = 0", 'spilled_bytes = "none"', "wrong type"),
        ('ptx = "8.0"', 'ptx = "sm_80"', "not a compute capability"),
        ("schema = 1", "schema =", "not valid TOML"),
    ],
)
def test_a_table_with_a_mistake(
    text: str, replacement: str, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(ProjectError, match=complaint) as caught:
        read_kernel_table("attention", directory=table_with(text, replacement, tmp_path))
    assert str(tmp_path) in str(caught.value)


def test_an_unknown_kernel_names_the_nearest() -> None:
    with pytest.raises(ProjectError, match="no kernel 'atention'") as caught:
        read_kernel_table("atention")
    assert "attention" in str(caught.value.details["try"])


def test_the_last_special_that_fits_is_taken() -> None:
    special = (
        Special(padded_head_size=64, forward=((32, 32),)),
        Special(compute_capability="8.7", decode=((16, 16),)),
        Special(padded_head_size=64, compute_capability="8.7", forward=((16, 16),)),
    )
    tiles = TileTable(forward=((128, 64),), decode=((16, 64),), special=special)
    table = msgspec.structs.replace(TABLE, tiles=tiles, padded_head_sizes=(64, 80))
    found = {i.padded_head_size: (i.forward, i.decode) for i in instances(table, "8.6")}
    assert found == {64: (((32, 32),), ((16, 64),)), 80: (((128, 64),), ((16, 64),))}
    found = {i.padded_head_size: (i.forward, i.decode) for i in instances(table, "8.7")}
    assert found == {64: (((16, 16),), ((16, 16),)), 80: (((128, 64),), ((16, 16),))}


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """An environment in which there is nothing."""
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    return {"PATH": str(tmp_path)}


def program(path: Path, prints: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{prints}'\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return path


RELEASE = "Cuda compilation tools, release 12.6, V12.6.85"


def test_without_nvcc_one_sentence_says_what_to_install(nowhere: dict[str, str]) -> None:
    with pytest.raises(MissingDependencyError, match="nvcc is needed") as caught:
        find_toolchain(nowhere)
    assert "pip install 'mmedge[kernels]'" in str(caught.value)
    assert caught.value.exit_code == 9


def test_without_a_compiler_of_c(nowhere: dict[str, str], tmp_path: Path) -> None:
    program(tmp_path / "nvcc", RELEASE)
    with pytest.raises(MissingDependencyError, match="C\\+\\+ compiler") as caught:
        find_toolchain(nowhere)
    assert "apt install g++" in str(caught.value)


def test_the_one_asked_for_is_first(nowhere: dict[str, str], tmp_path: Path) -> None:
    program(tmp_path / "g++", "")
    on_path = program(tmp_path / "nvcc", RELEASE)
    home = program(tmp_path / "cuda" / "bin" / "nvcc", RELEASE)
    asked = program(tmp_path / "asked" / "nvcc", RELEASE)
    environment = dict(nowhere)
    assert find_toolchain(environment).nvcc == on_path
    environment["CUDA_HOME"] = str(tmp_path / "cuda")
    assert find_toolchain(environment).nvcc == home
    environment["CUDACXX"] = str(asked)
    found = find_toolchain(environment)
    assert (found.nvcc, found.version, found.cuda_major) == (asked, "12.6.85", "12")
    environment["CUDACXX"] = str(tmp_path / "gone")
    with pytest.raises(MissingDependencyError, match="CUDACXX names no compiler"):
        find_toolchain(environment)


def test_what_does_not_run_as_nvcc(nowhere: dict[str, str], tmp_path: Path) -> None:
    program(tmp_path / "g++", "")
    program(tmp_path / "nvcc", "command not found, or so")
    with pytest.raises(MissingDependencyError, match="does not run as") as caught:
        find_toolchain(nowhere)
    assert "command not found" in str(caught.value)


def test_the_wheels_are_found(
    monkeypatch: pytest.MonkeyPatch, nowhere: dict[str, str], tmp_path: Path
) -> None:
    program(tmp_path / "g++", "")
    nvcc = program(tmp_path / "nvidia" / "cu13" / "bin" / "nvcc", RELEASE)
    program(tmp_path / "nvidia" / "cu9" / "bin" / "nvcc", RELEASE)
    library = tmp_path / "nvidia" / "cu13" / "lib"
    library.mkdir()
    (library / "libcudart_static.a").touch()
    monkeypatch.undo()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "nvidia", raising=False)
    found = find_toolchain(nowhere)
    assert (found.nvcc, found.library_directories) == (nvcc, (library,))


def test_headers_are_where_they_are_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "NvInferRuntime.h").touch()
    assert find_headers(environment={"TENSORRT_INCLUDE": str(tmp_path)}) == tmp_path
    assert find_headers(tmp_path, environment={}) == tmp_path
    with pytest.raises(MissingDependencyError, match="headers"):
        find_headers(tmp_path / "no", environment={"TENSORRT_INCLUDE": str(tmp_path)})


def test_occupancy_is_that_of_cuda_s_calculator() -> None:
    """168 registers: 3 warps in a quarter, 3 blocks; 37 KiB of shared memory of 100: 2 blocks."""
    share = occupancy("8.6", registers=168, threads=128, shared_bytes=36864)
    assert share == 2 * 4 / 48
    assert occupancy("8.7", registers=168, threads=128, shared_bytes=36864) == 3 * 4 / 48
    assert occupancy("8.6", registers=32, threads=1024, shared_bytes=0) == 32 / 48
    assert occupancy("8.6", registers=32, threads=128, shared_bytes=99 * 1024) == 4 / 48
    assert occupancy("8.6", registers=32, threads=128, shared_bytes=100 * 1024) == 0
    assert occupancy("99.9", registers=32, threads=128, shared_bytes=0) is None


@given(
    st.sampled_from(TABLE.compute_capabilities),
    st.integers(1, 255),
    st.integers(1, 32).map(lambda warps: warps * 32),
    st.integers(0, 99 * 1024),
)
def test_who_takes_less_fits_as_often(
    capability: str, registers: int, threads: int, shared: int
) -> None:
    share = occupancy(capability, registers=registers, threads=threads, shared_bytes=shared)
    assert share is not None
    assert 0 <= share <= 1
    less = occupancy(
        capability, registers=max(1, registers // 2), threads=threads, shared_bytes=shared // 2
    )
    assert less is not None
    assert less >= share


REPORT = """ptxas info    : Compiling entry function '{name}' for 'sm_86'
ptxas info    : Function properties for {name}
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 168 registers, used 1 barriers, 512 bytes smem, 592 bytes cmem[0]
"""
MANGLED = "_Z6attendI9TileShapeI4Bf16Li64ELi128ELi32ELb1ELb0EEEv6Launch"


def test_ptxas_s_report() -> None:
    (found,) = read_report("noise\n" + REPORT.format(name=MANGLED)).values()
    assert found.name == "bf16 head 64 128x32 bias"
    assert (found.registers, found.stack_bytes, found.spilled_bytes) == (168, 8, 16)
    assert found.shared_bytes == 512
    assert readable("_Z5other") == "_Z5other"


def test_a_report_without_figures() -> None:
    text = REPORT.format(name=MANGLED).replace("Used 168", "Uses 168")
    with pytest.raises(BuildError, match="no figures") as caught:
        read_report(text)
    assert caught.value.details["where"] == MANGLED


def shell(label: str, text: str) -> Command:
    return Command(label, ("/bin/sh", "-c", text))


def test_commands_run_side_by_side_and_tell_what_they_print() -> None:
    said: dict[int, str] = {}
    start = time.monotonic()
    commands = [shell("a", "sleep 0.5; echo first"), shell("b", "sleep 0.5; echo second >&2")]
    run_together(commands, said.__setitem__, workers=2)
    assert said == {0: "first\n", 1: "second\n"}
    assert time.monotonic() - start < 0.95


def test_one_that_fails_ends_the_others(tmp_path: Path) -> None:
    children = tmp_path / "pid"
    commands = [
        shell("slow", f"sleep 60 & echo $! > {children}; wait"),
        shell(
            "bad", f"while ! test -s {children}; do sleep 0.05; done; echo x; echo error: y; exit 3"
        ),
    ]
    start = time.monotonic()
    with pytest.raises(BuildError, match="sh failed on bad") as caught:
        run_together(commands, workers=2)
    assert caught.value.details["found"] == "error: y"
    assert time.monotonic() - start < 30
    grandchild = int(children.read_text())
    for _ in range(100):
        if not running(grandchild):
            break
        time.sleep(0.05)
    assert not running(grandchild)


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # One that nobody has waited for yet is no longer running.
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(BuildError, match="cannot be run"):
        run_together([Command("nothing", ("/no/such/program",))])
