"""What is done with a finished bundle: check it, measure it; with or without the model at hand.

Works where only the base install and an engine's library are; PyTorch and the compiler are
imported when a model is named to compare with.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmedge.profiling.bundle import measure_bundle
from mmedge.runtime.bundle import load
from mmedge.runtime.engines_taken import engines_taken
from mmedge.runtime.manifest import check_files, read_manifest
from mmedge.verify.golden import check_golden

if TYPE_CHECKING:
    from mmedge.stage import Workspace

Progress = Callable[[str], None]


def _silent(_line: str) -> None:
    """The progress of whoever does not want any."""


def verify_bundle(
    bundle: str | Path,
    *,
    against: str | Path | None = None,
    threads: int | None = None,
    engine: str | None = None,
    progress: Progress = _silent,
) -> dict[str, Any]:
    """Check every file of a bundle, and that its golden inputs give the model's outputs here.

    against: the model project; the whole evaluation set and the task metric are then compared
        with PyTorch.
    engine: the kind of engine to check; None checks the best that this machine can run.
    Raises BundleError for a damaged bundle, VerificationError where outputs differ, and
    CheckpointError if the bundle was compiled from another checkpoint.
    """
    progress("checking files and golden outputs")
    check_files(Path(bundle), read_manifest(Path(bundle)))  # engines that `load` passes over, too
    with load(bundle, threads=threads, engine=engine) as opened:
        facts = check_golden(opened) | engines_taken(opened)
        if against is not None:
            from mmedge.verify.stages import check_against

            workspace = _live_model(bundle, against, threads, progress)
            precisions = {engine.precision for engine in opened.chosen.values()}
            facts["against"] = check_against(opened, workspace, precisions)
    return facts


def profile_bundle(
    bundle: str | Path,
    *,
    against: str | Path | None = None,
    seconds: float = 10.0,
    threads: int | None = None,
    engine: str | None = None,
    progress: Progress = _silent,
) -> dict[str, Any]:
    """Latency of a bundle end to end and per component, load time and peak memory, on this machine.

    against: a model project; PyTorch eager then runs alternately in the same measurement.
    engine: the kind of engine to measure; None measures the best that this machine can run.
    """
    workspace = None if against is None else _live_model(bundle, against, threads, progress)
    return measure_bundle(
        Path(bundle),
        workspace=workspace,
        seconds=seconds,
        threads=threads,
        engine=engine,
        progress=progress,
    )


def _live_model(
    bundle: str | Path, path: str | Path, threads: int | None, progress: Progress
) -> Workspace:
    from mmedge.pipeline import live_model

    return live_model(bundle, path, threads, progress)
