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
        words += _words(key, value)
    return shlex.join(words)


def _words(key: str, value: Any) -> list[str]:
    if key == "shapes":
        return [word for axis, sizes in value.items() for word in ("--shape", f"{axis}={sizes}")]
    if key == "workspace_bytes":
        return ["--workspace", f"{value}B"]
    flag = f"--{key.replace('_', '-')}"
    return [flag] if value is True else [flag, str(value)]


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
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items()) or "not set"
    return str(value)


_UNSET = {
    "opset": "the target's",
    "threads": "all cores",
    "optimization_level": "the builder's",
    "workspace_bytes": "no limit",
}
