from __future__ import annotations

import inspect
import json
import re

import pytest

from mmedge import errors
from mmedge.errors import MmedgeError

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
# Name -> exit code, as the docstring's tree draws it; a class without a number has its parent's.
DRAWN = dict(re.findall(r"(\w+Error)\s+(\d+)\s", errors.__doc__ or ""))


@pytest.mark.parametrize("kind", CLASSES)
def test_exit_codes_are_those_of_the_tree(kind: type[MmedgeError]) -> None:
    assert kind.exit_code == int(DRAWN[kind.__name__])
    assert kind.exit_code not in (0, 2, 130)


def test_the_tree_draws_every_class() -> None:
    assert set(DRAWN) == {kind.__name__ for kind in CLASSES}


def test_an_exit_code_tells_the_stage() -> None:
    """Classes share a code only where the same thing is to be corrected: the input or the graph."""
    shared: dict[int, set[str]] = {}
    for kind in CLASSES:
        shared.setdefault(kind.exit_code, set()).add(kind.__name__)
    several = {code: names for code, names in shared.items() if len(names) > 1}
    assert several == {
        3: {"ProjectError", "CheckpointError", "UntrustedPickleError", "DataError"},
        4: {"ExportError", "GraphError"},
    }


def test_the_parts_are_laid_out_one_a_line() -> None:
    error = MmedgeError("it broke", found="1\n2", expected=3, where="here", hint="mend it")
    assert str(error).splitlines() == [
        "it broke",
        "  found:    1",
        "            2",
        "  expected: 3",
        "  where:    here",
        "  try:      mend it",
    ]
    assert str(MmedgeError("it broke")) == "it broke"


def test_as_plain_data() -> None:
    error = errors.BuildError("it broke", found=3, hint="mend it")
    assert json.loads(json.dumps(error.to_dict())) == {
        "error": "BuildError",
        "message": "it broke",
        "found": "3",
        "try": "mend it",
        "exit_code": 5,
    }


@pytest.mark.parametrize("kind", CLASSES)
def test_a_process_passes_its_error_on(kind: type[MmedgeError]) -> None:
    error = kind("it broke", found=3, expected="4", where="here", hint="mend it")
    again = errors.error_from(json.dumps(error.to_dict()))
    assert type(again) is kind
    assert str(again) == str(error)


@pytest.mark.parametrize("line", ["", "no JSON", "[1]", '{"error": "Exit"}', '{"import_ms": 3}'])
def test_what_is_no_error_is_none(line: str) -> None:
    assert errors.error_from(line) is None
