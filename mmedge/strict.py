"""Reading configuration strictly: an unknown key is an error that names the nearest known one."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import msgspec

from mmedge.errors import MmedgeError, ProjectError
from mmedge.refused_value import refused

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

S = TypeVar("S", bound=msgspec.Struct)
# So many letters of a name's beginning are no accident.
BEGINNING = 3


def read_toml(path: Path) -> dict[str, Any]:
    """The TOML file as a dict; ProjectError names the line where it is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ProjectError(f"{path} does not exist") from None
    except OSError as error:
        raise ProjectError(f"{path} cannot be read", found=error.strerror) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProjectError("the file is not valid TOML", found=str(error), where=path) from error


def decode(
    data: Any, into: type[S], *, where: object, error: type[MmedgeError] = ProjectError
) -> S:
    """`data` (dicts and lists) as an `into`; raises `error` with the key at fault."""
    _check_keys(data, into, (), where, error)
    try:
        return msgspec.convert(data, into, strict=True)
    except msgspec.ValidationError as problem:
        raise refused(str(problem), data, into, where=where, error=error) from problem


def nearest(name: str, known: list[str]) -> str:
    """`did you mean ...?` for the hint of an error, or the whole list where nothing is near.

    Case does not count. What begins as the name does is nearer than what merely resembles it.
    """
    lower = {other.lower(): other for other in known}
    typed = name.lower()
    # Swapped letters weigh much in a short name: 'cup' is as far from 'cpu' as 'tpu' is.
    close = [other for other in lower if sorted(other) == sorted(typed)]
    if len(typed) >= BEGINNING:
        close = close or sorted(other for other in lower if other.startswith(typed))
    close = close or difflib.get_close_matches(typed, lower, n=1, cutoff=0.7)
    named = " or ".join(repr(lower[other]) for other in close)
    return f"did you mean {named}?" if close else f"known: {', '.join(sorted(known))}"


def _check_keys(
    data: Any, kind: Any, path: tuple[str, ...], where: object, error: type[MmedgeError]
) -> None:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(data, dict):
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        for key, value in data.items():
            if key not in fields:
                table = f"[{'.'.join(path)}]" if path else "the top level"
                raise error(
                    f"unknown key {key!r} in {table}",
                    where=where,
                    hint=nearest(str(key), list(fields)),
                )
            _check_keys(value, fields[key], (*path, str(key)), where, error)
    elif get_origin(kind) is dict and isinstance(data, dict):
        for key, value in data.items():
            _check_keys(value, get_args(kind)[1], (*path, str(key)), where, error)
    else:
        for option in get_args(kind):
            if isinstance(option, type) and issubclass(option, msgspec.Struct):
                _check_keys(data, option, path, where, error)
