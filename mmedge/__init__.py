"""mmedge: from a trained multimodal PyTorch model to verified engines for edge devices.

    import mmedge
    mmedge.compile("examples/vqa", output="build/vqa.mmedge")
    with mmedge.load("build/vqa.mmedge") as bundle:
        outputs = bundle(image="photo.png", question="how many?")

Names are imported when they are first used, so that `import mmedge` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmedge.bundles import profile_bundle as profile
    from mmedge.bundles import verify_bundle as verify_bundle
    from mmedge.errors import MmedgeError as MmedgeError
    from mmedge.pipeline import compile_project as compile
    from mmedge.runtime.bundle import Bundle as Bundle
    from mmedge.runtime.bundle import load as load

__version__ = "0.1.0"
__all__ = ["Bundle", "MmedgeError", "compile", "load", "profile", "verify_bundle"]

# Public name -> where it is defined.
_PUBLIC = {
    "compile": "mmedge.pipeline:compile_project",
    "profile": "mmedge.bundles:profile_bundle",
    "verify_bundle": "mmedge.bundles:verify_bundle",
    "load": "mmedge.runtime.bundle:load",
    "Bundle": "mmedge.runtime.bundle:Bundle",
    "MmedgeError": "mmedge.errors:MmedgeError",
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'mmedge' has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
