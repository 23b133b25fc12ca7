"""What strict decoding refuses, as an error that says which values there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import msgspec

from mmedge.errors import MmedgeError

# As msgspec ends its complaints: "... - at `$.tensorrt.library`"; of the top level it says nothing.
PLACE = re.compile(r" - at `(?:key in )?\$(?P<path>.*)`$")
STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
MISSING = re.compile(r"Object missing required field `(?P<key>.+?)`")
WANTS_TEXT = re.compile(r"Expected `str( \| null)?`, got `(int|float|bool)`")


def refused(
    complaint: str, data: Any, into: Any, *, where: object, error: type[MmedgeError]
) -> MmedgeError:
    """msgspec's `complaint` about `data` as an `into`, with what may be there instead."""
    at = PLACE.search(complaint)
    path = _steps(at["path"]) if at else []
    missing = MISSING.search(complaint)
    if missing:
        key = missing["key"]
        table = f"[{'.'.join(path)}]" if path else "the top level"
        return error(
            f"key {key!r} is missing from {table}",
            found=complaint,
            expected=_allowed(_type_at(into, [*path, key])),
            where=where,
        )
    value, allowed = _value_at(data, path), _allowed(_type_at(into, path))
    if allowed is not None and isinstance(value, str):
        key = ".".join(path)
        return error(
            f"{key} has a value that is none of those allowed",
            found=f"{value!r}",
            expected=allowed,
            where=where,
        )
    hint = None
    if WANTS_TEXT.match(complaint) and path and value is not None:
        hint = f'write it in quotes: {path[-1]} = "{value}"'
    return error(
        "a value has the wrong type", found=complaint, expected=allowed, where=where, hint=hint
    )


def _steps(path: str) -> list[str]:
    return [name or index for name, index in STEP.findall(path)]


def _value_at(data: Any, path: list[str]) -> Any:
    """None where the path does not tell: msgspec writes `[...]` for any value of a dict."""
    for step in path:
        if isinstance(data, dict) and step in data:
            data = data[step]
        elif isinstance(data, list) and step.isdigit() and int(step) < len(data):
            data = data[int(step)]
        else:
            return None
    return data


def _type_at(kind: Any, path: list[str]) -> Any:
    for step in path:
        kind = next(_inside(kind, step), None)
    return kind


def _inside(kind: Any, step: str) -> Iterator[Any]:
    """The type of what lies at `step` in a value of type `kind`."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield from (f.type for f in msgspec.structs.fields(kind) if f.encode_name == step)
    elif get_origin(kind) is dict:
        yield get_args(kind)[1]
    elif get_origin(kind) in (list, tuple):
        yield get_args(kind)[0]
    else:
        for option in get_args(kind):
            yield from _inside(option, step)


def _allowed(kind: Any) -> str | None:
    """The values of a Literal; None of any other type."""
    if get_origin(kind) is Literal:
        return ", ".join(map(repr, get_args(kind)))
    found = (_allowed(option) for option in get_args(kind))
    return next((text for text in found if text), None)
