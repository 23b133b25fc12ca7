"""The kernels compiled by nvcc for each kind of GPU; none is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mmedge.errors import BuildError, MissingDependencyError, ProjectError
from mmedge.kernels.attention_library import Arguments, AttentionLibrary
from mmedge.kernels.build import BuiltKernels, build_kernels, install
from mmedge.kernels.building import build_all
from mmedge.kernels.compile_parts import PTX, Part, compile_parts
from mmedge.kernels.kernel_table import Instance, read_kernel_table
from mmedge.kernels.resources_used import check_budgets
from mmedge.kernels.toolchain import Toolchain, find_toolchain

# One of each kind of tile: enough for nvcc to see all of the sources.
FEW = Instance("Fp16", 32, forward=((32, 32),), decode=((16, 32),))
TABLE = read_kernel_table("attention")


@pytest.fixture(scope="module")
def toolchain() -> Toolchain:
    try:
        return find_toolchain()
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


def build(capability: str, cache: Path, **options: Any) -> BuiltKernels:
    return build_kernels("attention", capability, wanted=[FEW], cache=cache, **options)


@pytest.mark.slow
def test_every_gpu_of_the_table_is_compiled_for_and_within_budget(
    toolchain: Toolchain, cache: Path
) -> None:
    for capability in TABLE.compute_capabilities:
        built = build(capability, cache)
        kernels = [item for item in built.resources if item.threads is not None]
        assert sorted(item.name for item in kernels) == [
            "fp16 head 32 16x32 split",
            "fp16 head 32 16x32 split bias",
            "fp16 head 32 32x32",
            "fp16 head 32 32x32 bias",
        ]
        for item in kernels:
            assert item.spilled_bytes == 0
            assert 16 < item.registers <= TABLE.budgets.registers
            assert 0 < item.shared_bytes <= TABLE.budgets.shared_bytes
            assert item.occupancy is not None
            assert 0 < item.occupancy <= 1


def test_the_library_answers_without_a_gpu(toolchain: Toolchain, cache: Path) -> None:
    library = AttentionLibrary(build("8.6", cache).library)
    call = Arguments(batch=1, num_heads=1, kv_num_heads=1, head_size=32, scale=1.0)
    call.max_query_length, call.max_key_length = 100, 100
    assert library.tactics(call) == len(FEW.forward)
    call.max_query_length = 1
    assert library.tactics(call) == len(FEW.forward) + len(FEW.decode)
    call.head_size = 64  # not compiled
    assert library.tactics(call) == 0


def test_ptx_for_newer_gpus_has_no_figures(toolchain: Toolchain, cache: Path) -> None:
    built = build(PTX, cache)
    assert built.resources == ()
    # Text in the library, unlike machine code; nvcc compresses it beyond some size.
    assert AttentionLibrary(built.library)
    assert built.place.endswith(f"cuda{toolchain.cuda_major}-ptx")


def test_what_is_there_is_kept(toolchain: Toolchain, cache: Path) -> None:
    first = build("8.6", cache)
    before = first.library.stat().st_mtime_ns
    lines: list[str] = []
    again = build("8.6", cache, progress=lines.append)
    assert again.library == first.library
    assert again.library.stat().st_mtime_ns == before
    assert lines == []
    assert again.resources == first.resources


def test_installed_beside_those_of_other_machines(
    toolchain: Toolchain, cache: Path, tmp_path: Path
) -> None:
    built = build("8.6", cache)
    library = install(built, tmp_path / "out")
    assert library == tmp_path / "out" / built.place / "libmmedge_attention.so"
    assert library.read_bytes() == built.library.read_bytes()
    assert sorted(path.name for path in library.parent.iterdir()) == [
        "libmmedge_attention.a",
        "libmmedge_attention.so",
    ]


def test_over_budget_is_an_error_that_names_the_variant(toolchain: Toolchain, cache: Path) -> None:
    built = build("8.6", cache)
    budgets = msgspec.structs.replace(TABLE.budgets, registers=32, shared_bytes=1024)
    with pytest.raises(BuildError, match="more of the GPU than") as caught:
        check_budgets(built.resources, budgets, where="8.6")
    assert "fp16 head 32 32x32 bias: " in str(caught.value)
    assert "registers, 32 allowed" in str(caught.value)
    assert "bytes of shared memory, 1024 allowed" in str(caught.value)


def test_a_gpu_that_the_table_does_not_have(cache: Path) -> None:
    with pytest.raises(BuildError, match="need a newer GPU") as caught:
        build("7.5", cache)
    assert "8.7" in str(caught.value)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Sources of no kernel at all: compiled in a second."""
    directory = tmp_path / "sources"
    directory.mkdir()
    for name in (TABLE.interface_source, TABLE.listing_source, TABLE.instance_source):
        (directory / name).write_text("__global__ void nothing() {}\n")
    return directory


@pytest.fixture
def compile_(
    toolchain: Toolchain, sources: Path, tmp_path: Path
) -> Iterator[Callable[..., list[Part]]]:
    def run(**options: Any) -> list[Part]:
        return compile_parts(
            TABLE,
            [FEW],
            "8.6",
            sources=sources,
            toolchain=toolchain,
            directory=tmp_path / "parts",
            **options,
        )

    yield run
    left = [path.suffix for path in (tmp_path / "parts").rglob("*") if path.is_file()]
    assert left.count(".o") == left.count(".txt") == len(left) / 2, "nothing half-written"


def test_a_changed_source_is_compiled_anew(
    compile_: Callable[..., list[Part]], sources: Path
) -> None:
    before = {part.object_file for part in compile_()}
    (sources / "more.cuh").write_text("// nobody includes it, but somebody might\n")
    assert not before & {part.object_file for part in compile_()}


def test_nvcc_s_first_complaints_are_told(
    compile_: Callable[..., list[Part]], sources: Path
) -> None:
    (sources / TABLE.instance_source).write_text("this is no C++;\n")
    with pytest.raises(BuildError, match=r"failed on fp16_32\.cu") as caught:
        compile_()
    assert "instance.cuh(1): error" in str(caught.value)


def test_an_interrupt_leaves_whole_files_only(compile_: Callable[..., list[Part]]) -> None:
    def stop(_line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compile_(progress=stop)


def test_a_directory_that_cannot_be_written(
    toolchain: Toolchain, sources: Path, tmp_path: Path
) -> None:
    from mmedge.errors import OutputError

    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        compile_parts(
            TABLE,
            [FEW],
            "8.6",
            sources=sources,
            toolchain=toolchain,
            directory=tmp_path / "file" / "parts",
        )


def test_a_target_without_a_gpu() -> None:
    with pytest.raises(ProjectError, match="'cpu' has no GPU"):
        build_all(target="cpu")


def test_headers_are_missed_before_anything_is_compiled(tmp_path: Path) -> None:
    lines: list[str] = []
    with pytest.raises(MissingDependencyError, match="TensorRT's headers") as caught:
        build_all(plugin=True, tensorrt_include=tmp_path, progress=lines.append)
    assert str(tmp_path) in str(caught.value)
    assert "apt install libnvinfer-headers-dev" in str(caught.value)
    assert lines == []
