"""TensorRT for RTX under the name by which its own parser looks for it.

Its wheel has `libtensorrt_rtx.so.1` only, and a parser that meets a plugin opens
`libtensorrt_rtx.so`: not found, it ends the process. The name has to lead to the very same file:
a second copy of the library in one process fails.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path

from mmedge.storage import explained_os_errors

WANTED = "libtensorrt_rtx.so"
SHIPPED = "libtensorrt_rtx.so.1"
SEARCH = "LD_LIBRARY_PATH"


def searching(directory: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` for a process in which the parser finds the library.

    directory: where a link is made, if one is needed. As given where the wheel is not installed
    or has the name itself. OutputError where the link cannot be made.
    """
    shipped = _shipped()
    if shipped is None or shipped.with_name(WANTED).exists():
        return dict(environment)
    link = _link(shipped, directory)
    path = [str(link.parent), environment.get(SEARCH, "")]
    return {**environment, SEARCH: os.pathsep.join(filter(None, path))}


def _shipped() -> Path | None:
    found = importlib.util.find_spec("tensorrt_rtx_libs")
    for place in (found.submodule_search_locations or ()) if found else ():
        if (Path(place) / SHIPPED).is_file():
            return Path(place).resolve() / SHIPPED
    return None


def _link(shipped: Path, directory: Path) -> Path:
    """A directory for each installation: several environments may share one cache."""
    named = hashlib.sha256(str(shipped).encode()).hexdigest()[:16]
    link = directory / "libraries" / named / WANTED
    with explained_os_errors(link):
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            fresh = link.with_name(f"{WANTED}.{os.getpid()}")
            fresh.symlink_to(shipped)
            os.replace(fresh, link)  # another process may make it at the same time
    return link
