"""What an engine is tied to, compared with this machine before anything is deserialised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmedge.errors import MissingDependencyError
from mmedge.optional import EXTRAS, is_installed
from mmedge.runtime.device.gpu import Gpu, find_gpu, l4t_release
from mmedge.runtime.device.open_device import installed_library
from mmedge.runtime.runner import Refusal
from mmedge.runtime.tensorrt.library import LIBRARIES, TensorRT, find_library
from mmedge.runtime.tensorrt.plugin_places import bundle_of
from mmedge.runtime.tensorrt.plugins import missing_plugin, plugins_wanted

# The names of stamps, besides that of the library; "plugin:NAME" is a plugin's SHA-256.
COMPUTE_CAPABILITY, SM_COUNT = "compute_capability", "sm_count"
CUDA, L4T, PLUGIN = "cuda", "l4t", "plugin:"
NAMES = (*LIBRARIES, COMPUTE_CAPABILITY, SM_COUNT, CUDA, L4T)


@dataclass(frozen=True)
class Here:
    """This machine, as far as an engine is tied to it.

    versions: of the libraries that are installed. plugins: name -> SHA-256 of those at hand.
    """

    versions: Mapping[str, str]
    gpu: Gpu
    l4t: str | None
    plugins: Mapping[str, str]


def stamps(library: TensorRT, compute_capability: str | None) -> dict[str, str]:
    """What an engine built now is tied to: the library, and the GPU that it is for.

    `tensorrt` builds for the GPU of this machine, so its engines have its other stamps, too: a
    different number of multiprocessors or another Jetson release may change what they compute.
    """
    found = {library.name: library.version}
    if compute_capability is not None:
        found[COMPUTE_CAPABILITY] = compute_capability
    if library.name != "tensorrt":
        return found
    try:
        gpu = find_gpu()
    except MissingDependencyError:  # the builder says so, in its own words
        return found
    release = l4t_release()
    found |= {COMPUTE_CAPABILITY: gpu.compute_capability, SM_COUNT: str(gpu.sm_count)}
    found |= {CUDA: gpu.cuda} | ({L4T: release} if release else {})
    return found


def refusal(built_with: Mapping[str, str], *, path: Path | None = None) -> Refusal | None:
    """Why an engine with these stamps is not to be opened here; None where nothing is against it.

    path: the engine's file: its bundle may have the plugins.

    The cheapest reasons first: what is installed, then the driver and its GPU.
    """
    libraries = [name for name in LIBRARIES if name in built_with]
    if not libraries:
        return Refusal("it does not say which TensorRT it was built with")
    (name,) = libraries[:1]
    if not is_installed(name):
        extra, _purpose = EXTRAS[name]
        return Refusal(f"{name} is not installed", hint=f"pip install 'mmedge[{extra}]'")
    try:
        gpu = find_gpu()
        installed_library()
        version = find_library(name, purpose="running its engines").version
    except MissingDependencyError as error:
        return Refusal(_reason(error), hint=str(error.details["try"]))
    # Of a plugin that is not here, there is more to be said than that it is not.
    wanted = plugins_wanted(built_with)
    here = Here({name: version}, gpu, l4t_release(), plugins=wanted)
    why = mismatch(built_with, here)
    if why is not None:
        return Refusal(why)
    bundle = None if path is None else bundle_of(path)
    return missing_plugin(built_with, compute_capability=gpu.compute_capability, bundle=bundle)


def mismatch(built_with: Mapping[str, str], here: Here) -> str | None:
    """The first stamp that is not this machine's, in one clause; None where all are."""
    for name, value in built_with.items():
        why = _problem(name, value, here)
        if why is not None:
            return why
    return None


def _problem(name: str, value: str, here: Here) -> str | None:
    gpu = here.gpu
    if name in LIBRARIES:
        found = here.versions.get(name, "not installed")
        same = same_version(value, found)
        return None if same else f"it was built with {name} {value}, and {found} is installed"
    if name == COMPUTE_CAPABILITY:
        fits = gpu.compute_capability in value.split(",")
        told = f"and {gpu.name} has {gpu.compute_capability}"
        return None if fits else f"it was built for compute capability {value}, {told}"
    if name == SM_COUNT:
        fits = str(gpu.sm_count) == value
        told = f"and {gpu.name} has {gpu.sm_count}"
        return None if fits else f"it was built on a GPU with {value} multiprocessors, {told}"
    if name == CUDA:
        fits = _numbers(gpu.cuda) >= _numbers(value)
        told = f"and this one supports {gpu.cuda}"
        return None if fits else f"it was built with a driver for CUDA {value}, {told}"
    if name == L4T:
        found = here.l4t or "none"
        return None if found == value else f"it was built on L4T {value}, and this is {found}"
    if name.startswith(PLUGIN):
        found = here.plugins.get(name[len(PLUGIN) :], "not here")
        same = found == value
        return None if same else f"it needs plugin {name[len(PLUGIN) :]} {value[:12]}: {found[:12]}"
    return f"it is tied to {name} {value}, which this mmedge does not know"


def same_version(one: str, other: str) -> bool:
    """Equal as far as both say: Jetson's Python package has three of TensorRT's four numbers.

    Whether an engine of another 1.x of TensorRT for RTX loads is not known, so it is refused.
    """
    pairs = list(zip(one.split("."), other.split("."), strict=False))
    return len(pairs) >= 3 and all(mine == yours for mine, yours in pairs)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _reason(error: MissingDependencyError) -> str:
    found = error.details["found"]
    return f"{error.what} ({found})" if found else error.what
