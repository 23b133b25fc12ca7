"""Optional libraries: imported where they are used, missed in one clear sentence."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from mmedge.errors import MissingDependencyError

# Import name -> (the extra that brings it, what it is for). `mmedge doctor` prints this table.
EXTRAS = {
    "torch": ("compile", "loading, splitting and exporting PyTorch models"),
    "onnx": ("compile", "reading and checking ONNX files"),
    "onnx_ir": ("compile", "graph passes"),
    "ml_dtypes": ("compile", "number formats that numpy lacks"),
    "onnxscript": ("compile", "the ONNX exporter and graph rewriting"),
    "safetensors": ("compile", "safetensors checkpoints"),
    "jinja2": ("compile", "the HTML report"),
    "onnxruntime": ("onnxruntime", "running bundles on a CPU"),
    "tensorrt_rtx": ("rtx", "building and running engines of TensorRT for RTX"),
    "tensorrt": ("tensorrt", "building and running engines of TensorRT"),
    "cuda": ("cuda", "running engines on a GPU, through cuda.core"),
    "pycuda": ("pycuda", "running engines on a GPU, where there is no cuda.core"),
    "PIL": ("image", "decoding and resizing images"),
    "tokenizers": ("text", "turning text into token ids"),
    "transformers": ("hf", "Hugging Face checkpoint directories"),
}


def is_installed(module: str) -> bool:
    """Whether `module` can be found; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # an import hook, a parent that is missing or half installed
        return False


def missing(error: ImportError) -> MissingDependencyError | None:
    """The sentence for an import that failed for want of an optional library; None for others."""
    library = (error.name or "").split(".")[0]
    if library not in EXTRAS:
        return None
    extra, purpose = EXTRAS[library]
    return MissingDependencyError(
        f"{library} is needed for {purpose}, and is not installed",
        found=str(error),
        hint=f"pip install 'mmedge[{extra}]'",
    )


def require(module: str, *, purpose: str | None = None) -> ModuleType:
    """Import `module`, or raise MissingDependencyError naming the extra that brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        extra, default_purpose = EXTRAS.get(module.split(".")[0], (None, "this operation"))
        package = f"mmedge[{extra}]" if extra else module
        raise MissingDependencyError(
            f"{module} is needed for {purpose or default_purpose}, and is not installed",
            found=str(error),
            hint=f"pip install '{package}'",
        ) from error
