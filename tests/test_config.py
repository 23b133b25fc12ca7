from __future__ import annotations

from typing import Any

import pytest

from mmedge.config import CompileConfig, merge
from mmedge.errors import ProjectError
from mmedge.opsets import OPSETS


def test_flags_win_over_the_table_and_none_is_no_flag() -> None:
    config = merge({"tolerance": 1e-3, "opset": 20}, {"tolerance": 1e-5, "opset": None}, where="")
    assert config == CompileConfig(tolerance=1e-5, opset=20)


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(ProjectError, match="unknown key 'tolerence'") as caught:
        merge({"tolerence": 1}, {}, where="project")
    assert caught.value.details["try"] == "did you mean 'tolerance'?"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("opset", 17),
        ("opset", 99),
        ("threads", 0),
        ("threads", -1),
        ("threads", 100_000),
        ("max_drop", -0.1),
        ("max_drop", 1.5),
        ("max_drop", float("nan")),
        ("tolerance", 0),
        ("tolerance", 1),
        ("tolerance", float("nan")),
        ("cache_capacity", 0),
        ("measure_seconds", -1),
        ("measure_seconds", 1e9),
        ("measure_seconds", float("nan")),
    ],
)
def test_a_value_out_of_range_is_refused(key: str, value: float) -> None:
    with pytest.raises(ProjectError, match=f"{key} is out of range") as caught:
        merge({}, {key: value}, where="flags")
    assert caught.value.details["found"] is not None
    assert caught.value.details["expected"]


@pytest.mark.parametrize("table", [{"debug": "yes"}, {"threads": 1.5}, {"tolerance": "1e-3"}])
def test_a_value_of_another_type_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ProjectError, match="wrong type"):
        merge(table, {}, where="project")


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "int8"])
def test_io_precision_without_16_bits_to_keep_is_refused(precision: str) -> None:
    with pytest.raises(ProjectError, match="io_precision = same does nothing") as caught:
        merge({"io_precision": "same"}, {"precision": precision}, where="project")
    assert "--precision fp16" in str(caught.value.details["try"])


def test_io_precision_goes_with_fp16() -> None:
    settings = {"io_precision": "same", "precision": "fp16"}
    assert merge({}, settings, where="flags").io_precision == "same"


def test_opsets_are_those_of_targets() -> None:
    for opset in (OPSETS.start, OPSETS.stop - 1):
        assert merge({}, {"opset": opset}, where="flags").opset == opset
    with pytest.raises(ProjectError, match="opset is out of range"):
        merge({}, {"opset": OPSETS.stop}, where="flags")
