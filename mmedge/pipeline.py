"""The whole of mmedge, in order: read this file first.

A model goes through STAGES one by one. Each takes an Artifact and returns the next one; each is
kept by content (project files, settings, code and tool versions), so a second identical compile
costs nothing and a killed one goes on where it was. The last step writes the bundle.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mmedge.artifact import Artifact, Provenance, replace
from mmedge.axis_shapes import narrowed, read_shapes
from mmedge.backends.stages import Build, check_target
from mmedge.bundle.pack import check_shipped, pack
from mmedge.cache import StageCache, code_digest, default_cache_directory, key_of, tool_versions
from mmedge.checkpoint.demand import demand
from mmedge.checkpoint.hashing import checkpoint_path
from mmedge.checkpoint.load import checkpoint_hash, load_model
from mmedge.checkpoint.stages import Load
from mmedge.config import CompileConfig, merge
from mmedge.data.fitting_samples import fitting
from mmedge.data.mapped_samples import mapped
from mmedge.data.samples import load_samples
from mmedge.errors import CheckpointError, ProjectError
from mmedge.free_memory import give_back
from mmedge.graph.fuse_stage import Fuse, check_attention
from mmedge.graph.precision.provable import check_provable
from mmedge.graph.precision_stage import Precision
from mmedge.graph.stages import Export, Rewrite, make_split
from mmedge.kept_proposals import proposed_project
from mmedge.optional import require
from mmedge.precision_check import check_precision
from mmedge.profiling.memory import current_rss_bytes, peak_rss_bytes
from mmedge.profiling.stages import Measure
from mmedge.project import Project, load_project
from mmedge.proposing import is_bare_checkpoint, propose
from mmedge.report.build import build_report
from mmedge.report.html import render_html
from mmedge.room import Room
from mmedge.runtime.manifest import Manifest, is_bundle, read_manifest
from mmedge.search.stages import Quantize
from mmedge.stage import Samples, Stage, Workspace
from mmedge.storage import check_replaceable, exclusive
from mmedge.targets import Target, load_target, target_file
from mmedge.verify.stages import Verify
from mmedge.verify.task import check_metric

if TYPE_CHECKING:
    import torch

STAGES: tuple[Stage, ...] = (
    Load(),  # read the checkpoint into the user's model, refuse what does not fit
    Export(),  # split it into components, each an ONNX graph
    Rewrite(),  # simplify the graphs exactly, wire them
    Precision(),  # compute in 16 bits where that is asked for and the numbers allow it
    Quantize(),  # 8-bit integers where that is asked for, right, and faster
    Fuse(),  # attention kernels of our own, where the target's table wants them
    Build(),  # an engine for each component
    Verify(),  # engines equal to the model: per component, end to end, by its task
    Measure(),  # engines against PyTorch on this machine, in one run
)

# Of memory that a stage may leave behind uncollected: little beside what torch's import takes.
UNNOTED_BYTES = 8 << 20

Progress = Callable[[str], None]


def _silent(_line: str) -> None:
    """The progress of whoever does not want any."""


@dataclass(frozen=True)
class Compiled:
    """What `compile_project` made: the bundle's directory, its manifest, and the report."""

    bundle: Path
    manifest: Manifest
    report: dict[str, Any]


def compile_project(
    path: str | Path,
    *,
    output: str | Path,
    target: str = "cpu",
    cache: Path | None = None,
    use_cache: bool = True,
    progress: Progress = _silent,
    samples: tuple[str, ...] = (),
    **settings: Any,
) -> Compiled:
    """Compile the model at `path` for `target` and write the bundle to `output`.

    path: a model project, or a Hugging Face directory as `save_pretrained` writes it.
    samples: the user's own files to verify such a directory with.
    settings: fields of `CompileConfig`; they win over the project's [compile] table.
    Raises MmedgeError (see `mmedge.errors`); then nothing is left at `output`.
    """
    store = StageCache(cache or default_cache_directory())
    trusted = bool(settings.get("trust_remote_code"))
    keep = partial(proposed_project, cache=store.directory, use_cache=use_cache)
    project = _project_at(Path(path), samples, partial(keep, trust_remote_code=trusted))
    config = merge(project.file.compile, settings, where=project.directory)
    for remark in project.remarks:
        progress(remark)
    device = load_target(target)
    if not (file := target_file(target)).ships:
        progress(f"target {device.name} is from {file.sentence()}")
    check_target(device, config.opset)
    check_precision(device, config.precision)
    check_provable(device, config.precision)
    check_attention(device, config.attention)
    destination = Path(output).resolve()
    check_replaceable(destination, ours=is_bundle)
    check_shipped(project)
    check_metric(project)
    narrowed(project.axes(), read_shapes(config.shapes), inner=config.shapes)
    with exclusive(destination), store.in_use():
        room = Room.of(demand(checkpoint_path(project)), cache=store.directory, output=destination)
        progress(room.sentence())
        workspace = _workspace(
            project, config, device, progress, room=room, scratch=store.directory
        )
        artifact, timeline = run_stages(_first(workspace), workspace, store, use_cache=use_cache)
        report = build_report(artifact, project, device, timeline)
        report["resources"] = room.to_dict()
        report["remarks"] = project.remarks
        progress("writing the bundle")
        manifest = pack(artifact, project, destination, report=report, render=render_html)
    return Compiled(destination, manifest, report)


def run_stages(
    artifact: Artifact, workspace: Workspace, store: StageCache, *, use_cache: bool
) -> tuple[Artifact, list[dict[str, Any]]]:
    """Every stage in order, from the cache where it has the same inputs; and what each took.

    The second value has a dict for each stage: its name, seconds, whether it came from the cache,
    and the largest memory that this process had until its end, in bytes (None: not available).
    """
    provenance = artifact.provenance
    sources = (provenance.project_digest, provenance.checkpoint_sha256)
    key = key_of(*sources, provenance.versions, code_digest())
    timeline = []
    for stage in STAGES:
        settings = {name: getattr(workspace.config, name) for name in stage.config_keys}
        key = key_of(key, stage.name, settings, _target_facts(stage, workspace.target))
        start, before = time.perf_counter(), current_rss_bytes()
        cached = store.load(key) if use_cache else None
        if cached:
            workspace.progress(f"{stage.name}: from the cache")
        artifact = cached or store.make(key, _runner(stage, artifact, workspace))
        if not artifact.records[stage.name].get("keep", True):
            store.forget(key)
        # A cached artifact names the settings of the compile that made it, not of this one.
        artifact = replace(artifact, provenance=provenance)
        if cached is None and _grew(before):
            give_back()  # so that the peaks of two stages do not add up
        seconds = time.perf_counter() - start
        entry = {"stage": stage.name, "seconds": seconds, "cached": cached is not None}
        timeline.append(entry | {"peak_rss_bytes": peak_rss_bytes()})
    return artifact, timeline


def _grew(before: int | None) -> bool:
    """Whether this process has notably more memory than `before`: if not, none is to give back.

    Most compiles have stages with nothing to do, and looking for garbage takes longer than they.
    """
    now = current_rss_bytes()
    return before is None or now is None or now - before > UNNOTED_BYTES


def _target_facts(stage: Stage, target: Target) -> Target | dict[str, Any]:
    """What of the target decides the stage's result: targets that agree in it share the result."""
    if stage.target_keys is None:
        return target
    return {name: getattr(target, name) for name in stage.target_keys}


def make_model(
    project: Project, config: CompileConfig, scratch: Path
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """The user's model and the record of how it was loaded.

    PyTorch gets as many threads as the engine will, for fair comparisons.
    scratch: where large temporary files may be.
    """
    torch = require("torch")
    torch.set_num_threads(config.threads or len(os.sched_getaffinity(0)))
    loaded = load_model(
        project,
        trust_pickle=config.trust_pickle,
        trust_remote_code=config.trust_remote_code,
        scratch=scratch,
    )
    return loaded.model, msgspec.to_builtins(loaded.record)


def live_model(
    bundle: str | Path, path: str | Path, threads: int | None, progress: Progress
) -> Workspace:
    """The model at `path` that `bundle` was compiled from; CheckpointError if it is another."""
    manifest = read_manifest(Path(bundle))
    project = _project_at(Path(path), (), lambda directory, **_: propose(directory).project)
    found = checkpoint_hash(project)
    if found != manifest.checkpoint_sha256:
        raise CheckpointError(
            f"{bundle} was not compiled from the checkpoint of {path}",
            found=f"sha256 {found}",
            expected=f"sha256 {manifest.checkpoint_sha256}",
            hint="compile it again, or name the project it came from",
        )
    generation = manifest.wiring.generation
    capacity = None if generation is None else generation.capacity
    settings = {"threads": threads, "cache_capacity": capacity}
    config = merge(project.file.compile, settings, where=project.directory)
    device = load_target(manifest.target)
    return _workspace(project, config, device, progress, scratch=default_cache_directory())


def _project_at(path: Path, samples: tuple[str, ...], proposed: Callable[..., Project]) -> Project:
    """The project at `path`, or the one that is proposed for the checkpoint there."""
    if is_bare_checkpoint(path):
        return proposed(path, samples=samples)
    project = load_project(path)
    if samples:
        raise ProjectError(
            "--sample is for checkpoint directories; this is a project",
            where=project.directory,
            hint="name the files in its mmedge.toml: [data] samples, or loaders",
        )
    return project


def _runner(stage: Stage, artifact: Artifact, workspace: Workspace) -> Callable[[Path], Artifact]:
    def run(directory: Path) -> Artifact:
        missing = [name for name in stage.requires if name not in artifact.records]
        if missing:
            raise ValueError(f"stage {stage.name!r} runs before {missing}")
        finished = stage.run(artifact, workspace, directory)
        stage.ensures(finished)
        return finished

    return run


def _workspace(
    project: Project,
    config: CompileConfig,
    target: Target,
    progress: Progress,
    *,
    scratch: Path,
    room: Room | None = None,
) -> Workspace:
    """room: what is checked before the model is made, which a compile from the cache never does."""

    def load() -> tuple[torch.nn.Module, dict[str, Any]]:
        if room is not None and not config.ignore_estimate:
            room.check()
        return make_model(project, config, scratch)

    def samples(purpose: str) -> Samples:
        return fitting(load_samples(project, purpose), project.model_inputs(), config.shapes)

    return Workspace(
        project=project,
        config=config,
        target=target,
        load_model=load,
        load_samples=lambda purpose: mapped(samples(purpose), scratch),
        make_split=make_split,
        progress=progress,
    )


def _first(workspace: Workspace) -> Artifact:
    """An artifact that has only its provenance."""
    project = workspace.project
    return Artifact(
        Provenance(
            name=project.name,
            checkpoint_sha256=checkpoint_hash(project),
            project_digest=project.digest(),
            config=msgspec.to_builtins(workspace.config),
            target=workspace.target.name,
            versions=tool_versions(),
        )
    )
