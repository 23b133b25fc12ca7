from __future__ import annotations

from collections import namedtuple
from typing import Any

import pytest
import torch
from mmedge_export.reference import named_outputs, public_names

from mmedge.errors import ProjectError

ONE, TWO = torch.ones(1), torch.ones(2)
Pair = namedtuple("Pair", ["left", "right"])


@pytest.mark.parametrize(
    ("result", "names"),
    [
        (ONE, ["output"]),
        ((ONE, TWO), ["output_0", "output_1"]),
        ({"a": ONE, "b": None}, ["a"]),
        ((ONE, {"x": TWO}), ["output_0", "output_1.x"]),
        ({"a": [ONE, (TWO, None)]}, ["a.output_0", "a.output_1.output_0"]),
        (Pair(ONE, TWO), ["left", "right"]),
        ({"logits": ONE, "past_key_values": object()}, ["logits"]),
    ],
)
def test_outputs_are_named_by_where_they_are(result: Any, names: list[str]) -> None:
    assert list(named_outputs(result)) == names


@pytest.mark.parametrize(
    ("result", "what"),
    [
        (None, "not a tensor"),
        (3, "not a tensor"),
        ((ONE, 3), "not a tensor as output_1"),
        ((ONE, TWO.shape[0]), "not a tensor as output_1"),
        ({"a": ONE, "kind": "scores"}, "not a tensor as kind"),
        ((ONE, {"x": 0.5}), r"not a tensor as output_1\.x"),
    ],
)
def test_what_is_no_tensor_is_named(result: Any, what: str) -> None:
    with pytest.raises(ProjectError, match=what) as caught:
        named_outputs(result)
    assert "return tensors only" in str(caught.value)


@pytest.mark.parametrize(
    ("produced", "declared", "expected"),
    [
        (["a", "b"], [], {"a": "a", "b": "b"}),
        (["a", "b", "c"], ["b"], {"a": "a", "b": "b", "c": "c"}),
        (["output_0", "output_1"], ["logits", "mask"], {"output_0": "logits", "output_1": "mask"}),
    ],
)
def test_outputs_are_called_what_the_project_calls_them(
    produced: list[str], declared: list[str], expected: dict[str, str]
) -> None:
    """By name where forward names them, else by order."""
    assert public_names(produced, declared, table="[outputs]") == expected


@pytest.mark.parametrize("table", ["[outputs]", "[wiring]"])
def test_as_many_names_as_outputs(table: str) -> None:
    with pytest.raises(ProjectError) as caught:
        public_names(["output_0", "output_1"], ["logits"], table=table)
    assert str(caught.value).startswith(f"{table} does not match what forward returns")
    assert caught.value.details["found"] == "forward returns output_0, output_1"
