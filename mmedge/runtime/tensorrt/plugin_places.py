"""Where plugins of TensorRT are: in the bundle, and in a directory of the user's."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

# ONNX names a plugin "domain::Name:version"; of these this mmedge has a library.
LIBRARIES = {"FusedAttention": "libmmedge_attention.so"}
PLUGINS = "plugins"


def installed_plugins() -> Path:
    """$MMEDGE_PLUGINS, else the user's data directory: what `mmedge kernels build` installs."""
    chosen = os.environ.get("MMEDGE_PLUGINS")
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(chosen) if chosen else Path(base) / "mmedge" / PLUGINS


def machine_prefix() -> str:
    """How the names of directories for this kind of machine begin: system and processor."""
    return f"{platform.system().lower()}-{platform.machine().lower()}-cuda"


def plugin_files(
    name: str, compute_capability: str, *, bundle: Path | None, installed: Path | None = None
) -> Iterator[Path]:
    """Libraries of plugin `name` for a GPU: the bundle's, then the user's, newer CUDA first."""
    gpu = f"-sm{compute_capability.replace('.', '')}"
    file = LIBRARIES.get(name)
    roots = ([bundle / PLUGINS] if bundle else []) + [installed or installed_plugins()]
    for root in roots if file is not None else ():
        found = root.glob(f"{machine_prefix()}*{gpu}/{file}")
        yield from sorted(found, key=_cuda, reverse=True)


def bundle_of(file: Path) -> Path:
    """The bundle that an engine file lies in: bundle/engines/NAME.engine."""
    return file.resolve().parent.parent


def _cuda(file: Path) -> int:
    number = file.parent.name.removeprefix(machine_prefix()).split("-")[0]
    return int(number) if number.isdigit() else 0
