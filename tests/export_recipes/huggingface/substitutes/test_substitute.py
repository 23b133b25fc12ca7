"""A substitute takes a method's place for a while, and only the place of the one it was read in."""

from __future__ import annotations

import dataclasses
import sys

import pytest
from mmedge_export.huggingface.substitutes import ALL
from mmedge_export.huggingface.substitutes.substitute import Substitute
from mmedge_export.huggingface.substitutes.upstream import Upstream, source_sha256

from mmedge.errors import ExportError
from mmedge.optional import require


class Counter:
    """Stands for a class of transformers."""

    def count(self) -> int:
        """To be replaced."""
        return 1


SUBSTITUTE = Substitute(
    module=Counter.__module__,
    kind="Counter",
    method="count",
    source_sha256=source_sha256(Counter.count),
    version="5.23.0",
    replacement=lambda self: 2,
)


def test_it_is_active_for_a_while() -> None:
    assert SUBSTITUTE.owner_in([str, Counter]) is Counter
    assert SUBSTITUTE.owner_in([str]) is None
    with SUBSTITUTE.active(Counter):
        assert Counter().count() == 2
        with SUBSTITUTE.active(Counter):
            assert Counter().count() == 2
        assert Counter().count() == 2
    assert Counter().count() == 1


def test_it_ends_with_an_error_too() -> None:
    with pytest.raises(KeyError), SUBSTITUTE.active(Counter):
        raise KeyError
    assert Counter().count() == 1


def test_another_source_is_refused_and_left_alone() -> None:
    changed = dataclasses.replace(SUBSTITUTE, source_sha256="0" * 64)
    with (
        pytest.raises(ExportError, match=r"Counter.count is not the function") as caught,
        changed.active(Counter),
    ):
        pass
    assert caught.value.details["expected"] == "transformers 5.23.0, source 000000000000"
    assert "pip install transformers==5.23.0" in str(caught.value.details["try"])
    assert Counter().count() == 1


def test_a_function_that_is_gone_is_refused() -> None:
    assert Counter.__module__ in sys.modules
    gone = Upstream(__name__, "Counter.gone", SUBSTITUTE.source_sha256, "5.23.0")
    assert gone.function() is None
    with pytest.raises(ExportError, match="source none"):
        gone.check()


@pytest.mark.parametrize("substitute", ALL, ids=lambda s: f"{s.kind}.{s.method}")
def test_every_substitute_stands_for_what_is_installed(substitute: Substitute) -> None:
    module = require(substitute.module)
    own = [v for v in vars(module).values() if getattr(v, "__module__", "") == substitute.module]
    owner = getattr(module, substitute.kind) if substitute.kind else module
    assert substitute.owner_in([kind for kind in own if isinstance(kind, type)]) is owner
    assert substitute.owner_in([int]) is None
    assert source_sha256(vars(owner)[substitute.method]) == substitute.source_sha256
