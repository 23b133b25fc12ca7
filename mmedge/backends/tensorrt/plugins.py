"""The plugins that a plan names: their library found or built, or their twin in Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmedge.backends.tensorrt.attention_twin import make_creator
from mmedge.cache import default_cache_directory
from mmedge.engine_plan import EnginePlan
from mmedge.errors import BuildError, MissingDependencyError
from mmedge.kernels.build import build_kernels
from mmedge.kernels.kernel_table import read_kernel_table
from mmedge.kernels.plugin import build_plugin, find_headers
from mmedge.kernels.toolchain import find_toolchain
from mmedge.ops.fused_attention import DOMAIN, NAME, PLUGIN
from mmedge.runtime.device.gpu import find_gpu
from mmedge.runtime.tensorrt import plugins as loading
from mmedge.runtime.tensorrt.library import TensorRT
from mmedge.runtime.tensorrt.plugin_places import PLUGINS
from mmedge.storage import sha256_file

# As a plan names it -> the kernel that it is built from.
KERNELS = {PLUGIN: "attention"}
Progress = Callable[[str], None]


def capability_of(plan: EnginePlan) -> str:
    """Of the GPU that the plan is for, or of this machine's."""
    return plan.compute_capability or find_gpu().compute_capability


def plugin_library(plan: EnginePlan, *, bundle: Path | None) -> Path | None:
    """The library of the plan's plugin that is at hand: the bundle's, or an installed one.

    None where the plan names none or there is none. BuildError for a plugin nobody knows.
    """
    for name in _known(plan.plugins):
        return loading.find_plugin(
            name, loading.VERSION, compute_capability=capability_of(plan), bundle=bundle
        )
    return None


def plugin_stamps(plan: EnginePlan, library: Path | None) -> dict[str, str]:
    """The stamp of each plugin: the library's SHA-256, or the version where there is none."""
    stamp = loading.VERSION if library is None else sha256_file(library)
    return {f"{loading.PLUGIN}{name}": stamp for name in _known(plan.plugins)}


def provide_library(plan: EnginePlan, *, bundle: Path | None, progress: Progress) -> Path | None:
    """As `plugin_library`, building it first where nvcc and TensorRT's headers are here.

    Where they are not, `progress` is told what is to be done on the device; but `tensorrt` runs
    the plugin while it builds: MissingDependencyError.
    """
    found = plugin_library(plan, bundle=bundle)
    if found is not None or not plan.plugins:
        return found
    capability = capability_of(plan)
    try:
        headers = find_headers()
        find_toolchain()
    except MissingDependencyError as error:
        if plan.library == "tensorrt":
            raise
        progress(
            f"plugin {NAME} is not in the bundle ({error.what}): on the device run "
            f"{loading.how_to_build(capability)}"
        )
        return None
    built = build_kernels(KERNELS[plan.plugins[0]], capability, progress=progress)
    return build_plugin(built, default_cache_directory() / PLUGINS, headers=headers)


def bundled(library: Path) -> str:
    """Where a library lies in a bundle: in a directory for its kind of machine."""
    return f"{PLUGINS}/{library.parent.name}/{library.name}"


def register_plugins(
    library: TensorRT, plugins: Sequence[str], file: Path | None, *, compute_capability: str
) -> None:
    """Before the parser runs: the library in `file`, or the twin where there is none."""
    for name in _known(plugins):
        if file is not None:
            loading.load_library(library, name, file)
            continue
        table = read_kernel_table(KERNELS[PLUGIN])
        registry = library.module.get_plugin_registry()
        creator = make_creator(library.module, table, compute_capability)
        if not registry.register_creator(creator, DOMAIN):
            raise BuildError(f"{library.name} does not register plugin {name}")
        # TensorRT keeps a pointer to it, and no more.
        _creators.append(creator)


def check_taken(network: Any, module: Any, plugins: Sequence[str]) -> None:
    """BuildError where the parser has inlined every node that a plugin was to take."""
    kind = getattr(module.LayerType, "PLUGIN_V3", None)
    layers = (network.get_layer(index) for index in range(network.num_layers))
    if plugins and not any(layer.type == kind for layer in layers):
        raise BuildError(
            "TensorRT took none of the nodes that a plugin was to take",
            expected=", ".join(plugins),
            hint="compile again with --attention builtin, or report it: the graph names a plugin",
        )


_creators: list[Any] = []


def _known(plugins: Sequence[str]) -> list[str]:
    """The names of plugins; BuildError for one that this mmedge does not have."""
    for plugin in plugins:
        if plugin not in KERNELS:
            raise BuildError(f"this mmedge has no plugin {plugin!r}", expected=", ".join(KERNELS))
    return [plugin.split("::")[1].split(":")[0] for plugin in plugins]


def plugin_options(stamps: Mapping[str, str]) -> dict[str, str]:
    """What a bundle tells the runner of an engine with these stamps."""
    wanted = loading.plugins_wanted(stamps)
    text = ",".join(f"{name}:{stamp}" for name, stamp in wanted.items())
    return {"plugins": text} if text else {}
