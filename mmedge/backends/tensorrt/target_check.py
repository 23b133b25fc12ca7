"""What a target asks of its TensorRT that cannot be had: told before any work is done."""

from __future__ import annotations

from mmedge.capabilities import capabilities, version_of
from mmedge.errors import ProjectError
from mmedge.opsets import OPSETS
from mmedge.optional import EXTRAS
from mmedge.runtime.tensorrt.library import find_library
from mmedge.targets import Target, TensorRTSettings

# Builds engines for a GPU that is named; the other library for the GPU of its machine.
BUILDS_ANYWHERE = "tensorrt_rtx"


def check_target(target: Target, settings: TensorRTSettings, *, opset: int | None) -> None:
    """Raise ProjectError where the target's engines could not be built in the end.

    opset: of the graphs; None where they are there already.
    Raises MissingDependencyError where the engines are built here and the library is missing.
    """
    _check_gpu(target, settings)
    if opset is not None:
        _check_opset(target, settings, opset)
    if settings.library == BUILDS_ANYWHERE:
        _check_installed(target, settings)


def _check_gpu(target: Target, settings: TensorRTSettings) -> None:
    table = capabilities(settings)
    known = [name for row in table.gpus for name in row.names]
    if known and settings.compute_capability not in known:
        raise ProjectError(
            f"{table.title} builds no engines for compute capability {settings.compute_capability}",
            found=f'library = "{settings.library}"',
            expected=f"compute capability {', '.join(known)}",
            where=f"[tensorrt] of target {target.name!r}",
            hint='library = "tensorrt", which builds on the device itself, or one of these GPUs',
        )


def _check_opset(target: Target, settings: TensorRTSettings, opset: int) -> None:
    table = capabilities(settings)
    (row,) = table.opsets
    if row.oldest <= opset <= row.newest:
        return
    newest = min(row.newest, OPSETS.stop - 1)
    own = opset == target.opset
    raise ProjectError(
        f"{table.title} {settings.version} of target {target.name!r} does not parse opset {opset}",
        found=f"{'opset =' if own else '--opset'} {opset}",
        expected=f"{max(row.oldest, OPSETS.start)} to {newest}",
        hint=f"opset = {newest} in the target's file" if own else f"--opset {newest}",
    )


def _check_installed(target: Target, settings: TensorRTSettings) -> None:
    """The target's version is the oldest that it has: what an older one builds, it cannot open."""
    library = find_library(settings.library, purpose=f"building engines for {target.name}")
    wanted = version_of(settings.version)
    if version_of(library.version)[: len(wanted)] >= wanted:
        return
    raise ProjectError(
        f"target {target.name!r} has a newer {settings.library} than is installed here: its "
        "engines would not be taken there",
        found=f"{library.version}, installed",
        expected=f"{settings.version} or newer",
        where=f"[tensorrt] of target {target.name!r}",
        hint=f"pip install --upgrade 'mmedge[{EXTRAS[settings.library][0]}]', or correct "
        "version in the target's file",
    )
