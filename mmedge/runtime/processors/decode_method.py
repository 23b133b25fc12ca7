"""Tables that name their method: {"method": "plain", ...} as the struct of that method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from mmedge.errors import ProjectError
from mmedge.strict import decode, nearest

M = TypeVar("M")


def decode_method(
    table: Mapping[str, object], methods: Mapping[str, type[M]], *, where: object
) -> M:
    """The decoded table; ProjectError names an unknown method or key."""
    rest = dict(table)
    method = rest.pop("method", None)
    if method not in methods:
        raise ProjectError(
            f"unknown method {method!r}", where=where, hint=nearest(str(method), list(methods))
        )
    struct: Any = methods[str(method)]
    decoded: M = decode(rest, struct, where=where)
    return decoded
