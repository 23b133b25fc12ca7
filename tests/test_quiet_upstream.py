"""transformers says nothing while mmedge calls it, and everything afterwards."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mmedge.errors import MissingDependencyError
from mmedge.quiet_upstream import quiet_transformers

Heard = list[str]


class _Ear(logging.Handler):
    def __init__(self, heard: Heard) -> None:
        super().__init__()
        self.heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())


@pytest.fixture
def heard() -> Iterator[Heard]:
    """What transformers logs."""
    ear = _Ear([])
    logger = logging.getLogger("transformers")
    logger.addHandler(ear)
    yield ear.heard
    logger.removeHandler(ear)


def advise() -> None:
    logging.getLogger("transformers.generation").warning("advice")
    warnings.warn("more advice", UserWarning, stacklevel=1)


def test_quiet_only_while_active(heard: Heard) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with quiet_transformers():
            advise()
        assert (heard, warned) == ([], [])
        advise()
    assert heard == ["advice"]
    assert [str(item.message) for item in warned] == ["more advice"]


def test_an_error_is_raised_and_ends_the_quiet(heard: Heard) -> None:
    with pytest.raises(ValueError, match="wrong"), quiet_transformers():
        raise ValueError("wrong")
    logging.getLogger("transformers").warning("advice")
    assert heard == ["advice"]


def test_the_first_import_does_not_end_the_quiet(run_python: Callable[..., Any]) -> None:
    """transformers sets the level of its logger when it is imported."""
    done = run_python(
        "from mmedge.quiet_upstream import quiet_transformers\n"
        "with quiet_transformers():\n"
        "    from transformers.utils import logging\n"
        "    logging.get_logger('transformers.x').warning('inside')\n"
        "logging.get_logger('transformers.x').warning('outside')\n"
    )
    assert done.returncode == 0
    assert "inside" not in done.stderr
    assert "outside" in done.stderr


def test_without_transformers(run_python: Callable[..., Any]) -> None:
    code = "from mmedge.quiet_upstream import quiet_transformers\nwith quiet_transformers(): pass"
    done = run_python(code, without=["transformers"])
    assert MissingDependencyError.__name__ in done.stderr
