"""What `mmedge build` says besides the engines it made."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from mmedge.cli.build import _table


@pytest.mark.parametrize("remarks", [[], ["replacing the engines of x: precision tf32, not fp32"]])
def test_remarks_are_under_the_table(remarks: list[str]) -> None:
    row: dict[str, Any] = {"component": "fusion", "file": "engines/fusion.sm86.engine"}
    row |= {"precision": "tf32", "built_with": {}, "size_bytes": 1, "was_there": False}
    facts = {"bundle": "it.mmedge", "target": "x", "engines": [row], "remarks": remarks}
    console = Console(width=200, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(_table(facts))
    *_, last = lines = [line.strip() for line in captured.get().splitlines()]
    assert last == "on the target: mmedge verify it.mmedge"
    assert [line for line in lines if line.startswith("replacing")] == remarks
