"""Plugins of our own that an engine needs: found, checked and loaded before it is deserialised."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mmedge.errors import BuildError, MissingDependencyError
from mmedge.runtime.runner import Refusal
from mmedge.runtime.tensorrt.library import TensorRT
from mmedge.runtime.tensorrt.plugin_places import plugin_files
from mmedge.storage import sha256_file

NAMESPACE, VERSION = "mmedge", "1"
# As an engine is stamped with: "plugin:NAME" is the SHA-256 of the library it was built with, or
# the plugin's version where it was built without one.
PLUGIN = "plugin:"
# What each library of TensorRT has loaded in this process: (library, plugin) -> SHA-256.
_loaded: dict[tuple[str, str], str] = {}


def plugins_wanted(built_with: Mapping[str, str]) -> dict[str, str]:
    """Plugin -> SHA-256 or version, of the stamps of an engine."""
    return {
        key[len(PLUGIN) :]: value for key, value in built_with.items() if key.startswith(PLUGIN)
    }


def find_plugin(
    name: str, wanted: str, *, compute_capability: str, bundle: Path | None
) -> Path | None:
    """The library that an engine stamped `wanted` runs with here; None where there is none."""
    for file in plugin_files(name, compute_capability, bundle=bundle):
        if wanted in (VERSION, sha256_file(file)):
            return file
    return None


def missing_plugin(
    built_with: Mapping[str, str], *, compute_capability: str, bundle: Path | None
) -> Refusal | None:
    """Which plugin an engine needs that is not here, and how to get it; None where all are."""
    for name, wanted in plugins_wanted(built_with).items():
        at = {"compute_capability": compute_capability, "bundle": bundle}
        if find_plugin(name, wanted, **at) is not None:  # type: ignore[arg-type]
            continue
        other = find_plugin(name, VERSION, **at)  # type: ignore[arg-type]
        found = "it is not here" if other is None else f"{other} is another build of it"
        return Refusal(
            f"it needs plugin {name} for compute capability {compute_capability}, and {found}",
            hint=how_to_build(compute_capability, rebuild=other is not None),
        )
    return None


def how_to_build(compute_capability: str, *, rebuild: bool = False) -> str:
    """The command that makes a plugin on the machine that lacks it."""
    command = f"mmedge kernels build --plugin --compute-capability {compute_capability}"
    return "build the engine with that plugin: mmedge build BUNDLE" if rebuild else command


def load_plugins(
    library: TensorRT, wanted: Mapping[str, str], *, compute_capability: str, bundle: Path | None
) -> None:
    """Register the plugins in `library`, once in a process.

    wanted: as `plugins_wanted` tells. Raises MissingDependencyError for one that is not here,
    BuildError for a file that is no plugin or where another build of it is loaded already.
    """
    for name, stamp in wanted.items():
        at = {"compute_capability": compute_capability, "bundle": bundle}
        file = find_plugin(name, stamp, **at)  # type: ignore[arg-type]
        if file is None:
            refusal = missing_plugin({f"{PLUGIN}{name}": stamp}, **at)  # type: ignore[arg-type]
            assert refusal is not None
            raise MissingDependencyError(refusal.why, hint=refusal.hint)
        load_library(library, name, file)


def load_library(library: TensorRT, name: str, file: Path) -> None:
    """Register plugin `name` of the shared library `file`; loading it twice is harmless."""
    digest, key = sha256_file(file), (library.name, name)
    if _loaded.get(key) == digest:
        return
    registry = library.module.get_plugin_registry()
    if registry.get_creator(name, VERSION, NAMESPACE) is not None:
        raise BuildError(
            f"another build of plugin {name} is loaded in this process",
            found=_loaded.get(key, "one that mmedge has not loaded"),
            expected=digest,
            where=file,
            hint="open the two bundles in processes of their own",
        )
    library.logger.kept.clear()
    registry.load_library(str(file))
    if registry.get_creator(name, VERSION, NAMESPACE) is None:
        raise BuildError(
            f"{file.name} does not bring plugin {name}",
            found="\n".join(library.logger.kept.errors()) or "no reason given",
            where=file,
            hint="build it again on this machine: mmedge kernels build --plugin",
        )
    _loaded[key] = digest
