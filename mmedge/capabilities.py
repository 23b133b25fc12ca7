"""What the engines of a target take: a table of data by library, version and GPU.

The tables are TOML files in `capability_tables`, one for each library; every row says where it is
from. Nothing here asks which library it is: a library without a table has no limits to check.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

from mmedge.errors import ProjectError
from mmedge.strict import decode, read_toml
from mmedge.targets import TensorRTSettings

TABLES = Path(__file__).resolve().parent / "capability_tables"


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A row that holds for versions from `since` on and before `before`; "" is no bound."""

    since: str = ""
    before: str = ""
    source: str = ""


class Opsets(Row, frozen=True, kw_only=True):
    """Which versions of the ai.onnx operator set are parsed."""

    oldest: int
    newest: int


class Passes(Row, frozen=True, kw_only=True):
    """Graph passes, by name, that are left out or added for such an engine."""

    leave_out: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    why: str


class Formats(Row, frozen=True, kw_only=True):
    """Number formats and the least compute capability of GPUs that have them; "" for any.

    why: where it is not the GPU that lacks the format.
    """

    names: tuple[str, ...]
    least: str = ""
    why: str = ""


class Gpus(Row, frozen=True, kw_only=True):
    """Compute capabilities of the GPUs that engines are built for, on any machine."""

    names: tuple[str, ...]


class Operators(Row, frozen=True, kw_only=True):
    """Operators that are taken where input `typed_input` has one of `types`; () is any type."""

    names: tuple[str, ...]
    domain: str = ""
    types: tuple[str, ...] = ()
    typed_input: int = 0
    note: str = ""


class Instead(Row, frozen=True, kw_only=True):
    """What to do about operators that are not taken."""

    names: tuple[str, ...]
    hint: str


class Limit(Row, frozen=True, kw_only=True):
    """What refuses a node of an operator that is taken; all conditions that are given must hold.

    attribute: it is set, and to none of `unless`. input, output: it is there.
    not_constant: this input is computed. not_zero: this input is anything but constant zeros.
    type_of: an input and its type. rank: an input and its number of axes.
    unequal: two inputs whose last axes are known to differ. same: two inputs that are one tensor.
    constant_over: an input, and a number that it exceeds.
    silent: it is not refused with an error, but gives wrong results.
    crashes: it is not refused with an error, but the library crashes.
    """

    operators: tuple[str, ...]
    why: str
    hint: str
    attribute: str = ""
    unless: tuple[int | float | str, ...] = ()
    input: int | None = None
    output: int | None = None
    not_constant: int | None = None
    not_zero: int | None = None
    type_of: tuple[int, str] | None = None
    rank: tuple[int, int] | None = None
    unequal: tuple[int, int] | None = None
    same: tuple[int, int] | None = None
    constant_over: tuple[int, int] | None = None
    silent: bool = False
    crashes: bool = False


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that is known of a library, or of one version of it.

    gpus: none for a library that builds for the GPU of its machine, whichever that is.
    """

    library: str
    title: str
    sources: dict[str, str]
    opsets: tuple[Opsets, ...]
    passes: tuple[Passes, ...]
    precisions: tuple[Formats, ...]
    types: tuple[Formats, ...]
    operators: tuple[Operators, ...]
    instead: tuple[Instead, ...]
    limits: tuple[Limit, ...]
    gpus: tuple[Gpus, ...] = ()

    def taken(self, domain: str, operator: str) -> Operators | None:
        """The row of an operator, or None where it is not taken."""
        rows = (r for r in self.operators if operator in r.names and r.domain == domain)
        return next(rows, None)

    def hint(self, operator: str) -> str:
        """What to do instead of an operator that is not taken."""
        hints = (row.hint for row in self.instead if operator in row.names)
        return next(hints, "write that part of the model with other operators")


AnyRow = TypeVar("AnyRow", bound=Row)


def version_of(text: str) -> tuple[int, ...]:
    """ "10.13" -> (10, 13): as text, it would come before "10.3"."""
    return tuple(map(int, text.split(".")))


@cache
def read_table(library: str) -> Table:
    """The whole table of a library. ProjectError where it has none, or a row is wrong."""
    path = TABLES / f"{library}.toml"
    return decode(read_toml(path), Table, where=path)


@cache
def capabilities(settings: TensorRTSettings) -> Table:
    """The rows that hold for this library's version. ProjectError for a version before them all."""
    table = read_table(settings.library)
    version = version_of(settings.version)

    def holding(rows: tuple[AnyRow, ...]) -> tuple[AnyRow, ...]:
        return tuple(row for row in rows if _holds(row, version))

    found = msgspec.structs.replace(
        table,
        **{
            name: holding(getattr(table, name))
            for name in (
                "opsets",
                "passes",
                "precisions",
                "types",
                "operators",
                "instead",
                "limits",
                "gpus",
            )
        },
    )
    if not found.opsets:
        known = min((row.since for row in table.opsets), key=version_of)
        raise ProjectError(
            f"nothing is known of what {table.title} {settings.version} takes",
            expected=f"{table.title} {known} or later",
            hint="correct [tensorrt] version in the target's file",
        )
    return found


def _holds(row: Row, version: tuple[int, ...]) -> bool:
    return not (
        (row.since and version < version_of(row.since))
        or (row.before and version >= version_of(row.before))
    )
