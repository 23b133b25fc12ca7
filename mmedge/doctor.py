"""What is installed here, and what each missing part would enable."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
from typing import Any

from mmedge import __version__
from mmedge.optional import EXTRAS
from mmedge.recipes import available_recipes
from mmedge.targets import broken_targets, list_targets

# Import name -> distribution name, where they differ.
DISTRIBUTIONS = {"PIL": "pillow", "onnx_ir": "onnx-ir", "cuda": "cuda-core"}


def examine() -> dict[str, Any]:
    """Libraries with versions, ONNX Runtime's providers, recipes, targets. Imports no torch."""
    return {
        "mmedge": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "parts": [_part(library) for library in EXTRAS],
        "providers": _providers(),
        "recipes": sorted(available_recipes()),
        "targets": [target.name for target in list_targets()],
        "broken_targets": {name: error.to_dict() for name, error in broken_targets().items()},
    }


def _part(library: str) -> dict[str, str | None]:
    extra, enables = EXTRAS[library]
    return {
        "library": library,
        "version": _version(library),
        "enables": enables,
        "install": f"mmedge[{extra}]",
    }


def _version(library: str) -> str | None:
    if not _is_there(library):
        return None
    try:
        return importlib.metadata.version(DISTRIBUTIONS.get(library, library))
    except importlib.metadata.PackageNotFoundError:
        return _version_of_any(library)


def _version_of_any(library: str) -> str:
    """Of whichever distribution brings it: tensorrt_rtx has one for each major version of CUDA."""
    brought_by = importlib.metadata.packages_distributions().get(library, ())
    versions = dict.fromkeys(importlib.metadata.version(name) for name in brought_by)
    return ", ".join(versions) or "unknown"


def _is_there(library: str) -> bool:
    try:
        return importlib.util.find_spec(library) is not None
    except (ImportError, ValueError):  # an import hook, or a module without a spec
        return False


def _providers() -> list[str]:
    """What the installed ONNX Runtime can run on; a build under another name counts."""
    if not _is_there("onnxruntime"):
        return []
    try:
        import onnxruntime

        return list(onnxruntime.get_available_providers())
    except (ImportError, AttributeError, OSError) as error:  # half installed: what this is for
        return [f"broken: {error}"]
