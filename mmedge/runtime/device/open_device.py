"""The GPU through whichever of the libraries is installed."""

from __future__ import annotations

import importlib

from mmedge.errors import MissingDependencyError
from mmedge.optional import is_installed
from mmedge.runtime.device.gpu import find_gpu
from mmedge.runtime.device.protocol import Device

# Import name -> where its adapter is, the preferred first: it has graphs, and needs no compiler
# to be installed.
ADAPTERS = {
    "cuda.core": "mmedge.runtime.device.cuda_core:CudaCoreDevice",
    "pycuda": "mmedge.runtime.device.pycuda_driver:PycudaDevice",
}


def installed_library() -> str:
    """The library that `open_device` takes. Raises MissingDependencyError if there is none."""
    for name in ADAPTERS:
        if is_installed(name):
            return name
    raise MissingDependencyError(
        "running engines on a GPU needs cuda.core or pycuda, and neither is installed",
        expected=" or ".join(ADAPTERS),
        hint="pip install 'mmedge[cuda]'; where CUDA is older than 12: pip install pycuda",
    )


def open_device() -> Device:
    """The first GPU. MissingDependencyError where the driver or a library for it is missing."""
    gpu = find_gpu()
    module, _, name = ADAPTERS[installed_library()].partition(":")
    device: Device = getattr(importlib.import_module(module), name)(gpu)
    return device
