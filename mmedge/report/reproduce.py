"""How to make the same bundle again."""

from __future__ import annotations

import shlex
from typing import Any

import msgspec

from mmedge.config import CompileConfig

PROJECT = "PROJECT"  # where the reader keeps the project: the report does not name directories


def compile_command(report: dict[str, Any]) -> str:
    """The command line with every setting that is not the default."""
    words = ["mmedge", "compile", PROJECT, "-o", f"{report['name']}.mmedge"]
    words += ["--target", report["target"]["name"]]
    for key, value in changed_settings(report).items():
        flag = f"--{key.replace('_', '-')}"
        words += [flag] if value is True else [flag, str(value)]
    return shlex.join(words)


def changed_settings(report: dict[str, Any]) -> dict[str, Any]:
    """Settings that are not the default, whether the project or a flag set them."""
    defaults = msgspec.to_builtins(CompileConfig())
    config = report["provenance"]["config"]
    return {key: value for key, value in config.items() if value != defaults.get(key)}


def settings(report: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Name, value in words, and whether it is the default, of every setting."""
    changed = changed_settings(report)
    config = report["provenance"]["config"]
    return [(key, _in_words(key, value), key not in changed) for key, value in config.items()]


def _in_words(key: str, value: Any) -> str:
    if value is None:
        return _UNSET.get(key, "not set")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


_UNSET = {"opset": "the target's", "threads": "all cores"}
