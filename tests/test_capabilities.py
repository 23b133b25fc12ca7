"""The tables of what engines take: well formed, and the right rows for a version."""

from __future__ import annotations

from itertools import chain

import onnx.defs
import onnx_ir as ir
import pytest

from mmedge.capabilities import TABLES, Table, capabilities, read_table, version_of
from mmedge.errors import ProjectError
from mmedge.targets import PRECISIONS, TensorRTSettings, list_targets

LIBRARIES = sorted(path.stem for path in TABLES.glob("*.toml"))
VERSIONS = [
    "10.0",
    "10.3",
    "10.4",
    "10.8",
    "10.9",
    "10.13",
    "10.14",
    "10.15",
    "10.16",
    "11.4",
    "11.5",
]


def table(version: str) -> Table:
    return capabilities(TensorRTSettings("tensorrt", version, "8.7"))


def opset(version: str) -> int:
    (row,) = table(version).opsets
    return row.newest


def rows(found: Table) -> list[object]:
    kinds = (found.opsets, found.passes, found.precisions, found.types, found.operators)
    return list(chain(*kinds, found.limits, found.gpus))


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_row_says_where_it_is_from(library: str) -> None:
    found = read_table(library)
    assert found.library == library
    assert {row.source for row in rows(found)} == set(found.sources)  # type: ignore[attr-defined]


@pytest.mark.parametrize("library", LIBRARIES)
def test_operators_attributes_and_inputs_are_those_of_onnx(library: str) -> None:
    found = read_table(library)
    for row in found.operators:
        for name in row.names if not row.domain else ():
            assert len(onnx.defs.get_schema(name, 26).inputs) >= row.typed_input
    for limit in found.limits:
        for name in limit.operators:
            schema = onnx.defs.get_schema(name, 26)
            places = [limit.input, limit.not_constant, limit.not_zero]
            assert all(place < len(schema.inputs) for place in places if place is not None)
            assert not limit.attribute or limit.attribute in schema.attributes
            assert limit.output is None or limit.output < len(schema.outputs)


@pytest.mark.parametrize("library", LIBRARIES)
def test_types_and_precisions_have_names_that_are_known(library: str) -> None:
    known = {kind.name.lower() for kind in ir.DataType}
    found = read_table(library)
    for row in (*found.operators, *found.types):
        names = row.types if hasattr(row, "types") else row.names
        assert set(names) <= known
    assert {name for row in found.precisions for name in row.names} == set(PRECISIONS)


@pytest.mark.parametrize("version", VERSIONS)
def test_one_row_of_opsets_holds_and_no_operator_has_two(version: str) -> None:
    assert len(table(version).opsets) == 1
    names = [(row.domain, name) for row in table(version).operators for name in row.names]
    assert len(names) == len(set(names))


def test_versions_are_numbers_and_not_text() -> None:
    assert version_of("10.13") > version_of("10.3")
    assert opset("10.3") < opset("10.14") < opset("10.15") < opset("11.5")


@pytest.mark.parametrize(
    ("operator", "since"), [("Attention", "10.14"), ("RMSNormalization", "10.15"), ("STFT", "10.5")]
)
def test_operators_are_taken_from_the_version_on_that_has_them(operator: str, since: str) -> None:
    for version in VERSIONS:
        taken = table(version).taken("", operator) is not None
        assert taken == (version_of(version) >= version_of(since))


def test_a_version_before_all_rows_is_refused() -> None:
    with pytest.raises(ProjectError, match=r"nothing is known of what TensorRT 8\.5 takes"):
        capabilities(TensorRTSettings("tensorrt", "8.5", "8.7"))


@pytest.mark.parametrize("target", [t for t in list_targets() if t.tensorrt], ids=lambda t: t.name)
def test_the_targets_that_ship_write_an_opset_that_is_parsed(target: object) -> None:
    found = capabilities(target.tensorrt)  # type: ignore[attr-defined]
    (row,) = found.opsets
    assert row.oldest <= target.opset <= row.newest  # type: ignore[attr-defined]
