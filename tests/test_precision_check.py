"""Number formats that a target does not have are refused before any work, with one that it has."""

from __future__ import annotations

import msgspec
import pytest

from mmedge.config import COMPUTED_IN
from mmedge.errors import ProjectError
from mmedge.precision_check import check_precision
from mmedge.targets import PRECISIONS, list_targets, load_target

TARGETS = {target.name: target for target in list_targets()}


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_refused_names_the_target_and_what_works(name: str, precision: str) -> None:
    target = TARGETS[name]
    try:
        check_precision(target, precision)
    except ProjectError as error:
        text = str(error)
        assert name in text
        assert precision in text
        suggested = str(error.details["try"]).removeprefix("--precision ")
        assert suggested in COMPUTED_IN
        check_precision(target, suggested)
    else:
        assert precision in target.precisions


@pytest.mark.parametrize(
    ("target", "precision", "least", "suggested"),
    [
        ("rtx-3060-12g", "fp8", "8.9", "int8"),
        ("rtx-4060", "fp4", "12.0", "int8"),
        ("jetson-orin-nano-8", "fp8", "8.9", "int8"),
    ],
)
def test_it_says_what_the_format_needs(
    target: str, precision: str, least: str, suggested: str
) -> None:
    with pytest.raises(ProjectError) as caught:
        check_precision(load_target(target), precision)
    assert f"{precision} needs {least} or more" in str(caught.value)
    assert caught.value.details["try"] == f"--precision {suggested}"


def test_a_target_file_cannot_promise_what_its_gpu_lacks() -> None:
    target = msgspec.structs.replace(load_target("rtx-3060-12g"), precisions=("fp16", "fp8"))
    with pytest.raises(ProjectError, match="cannot compute in fp8"):
        check_precision(target, "fp8")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_turing_has_no_float32_and_no_bfloat16_with_tensorrt_rtx(precision: str) -> None:
    rtx = load_target("rtx-3060-12g")
    assert rtx.tensorrt is not None
    turing = msgspec.structs.replace(rtx.tensorrt, compute_capability="7.5")
    target = msgspec.structs.replace(rtx, tensorrt=turing)
    with pytest.raises(ProjectError, match=r"needs 8\.0 or more") as caught:
        check_precision(target, precision)
    assert caught.value.details["try"] == "--precision fp16"
    check_precision(target, "fp16")
    because = "no float32 engines for older GPUs"
    assert (because in str(caught.value.details["found"])) == (precision == "fp32")


@pytest.mark.parametrize("name", [n for n, t in TARGETS.items() if t.tensorrt])
def test_the_targets_that_ship_promise_what_the_table_says(name: str) -> None:
    for precision in TARGETS[name].precisions:
        check_precision(TARGETS[name], precision)
