"""`mmedge build`: a target's own engines into a finished bundle, on the device or anywhere.

Needs the bundle, the base install and the library that builds; neither PyTorch nor the compiler,
and no network. The bundle is whole after every component, so a build that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mmedge.artifact import EngineFile
from mmedge.backends.base import NativeBackend, native_backend
from mmedge.backends.device_memory import buffers_of, check_buffers, check_fits
from mmedge.bundle.pack import as_engine
from mmedge.bundle_plans import bundle_plans, replacing
from mmedge.damaged_engines import without_damaged
from mmedge.engine_plan import BuildOptions, EnginePlan
from mmedge.errors import BuildError, BundleError
from mmedge.machine_limits import available_memory
from mmedge.placing import place
from mmedge.runtime.manifest import (
    MANIFEST,
    Engine,
    Manifest,
    check_files,
    is_bundle,
    native_engines,
    read_manifest,
    sealed,
)
from mmedge.storage import atomic_directory, exclusive, sha256_file
from mmedge.targets import Target, load_target, target_file

Progress = Callable[[str], None]
ENGINES = "engines"


@dataclass(frozen=True)
class Work:
    """One component whose engine is wanted. built: the one that is there and fits."""

    component: str
    graph: Path
    plan: EnginePlan
    built: Engine | None


def build_bundle(
    bundle: str | Path,
    *,
    target: str | None = None,
    options: BuildOptions | None = None,
    progress: Progress = lambda _line: None,
) -> dict[str, Any]:
    """Build the engines of `target` from the graphs in `bundle`, and put them into it.

    target: by default the one that the bundle was compiled for. An engine that is there, by the
        same plan and library, is kept; one whose file is missing or changed is built again.
    options: what is not given is as the target's engines in the bundle have it, or, of a target
        that has none, those that the compile planned.
    Returns what was built, for `--json`. Raises BundleError for a bundle that is damaged besides,
    BuildError where a graph or the target is refused, MissingDependencyError without the library,
    OutputError where another build is writing the bundle.
    """
    directory = Path(bundle).resolve()
    read_manifest(directory)  # before a lock is made beside what is no bundle
    with exclusive(directory):
        manifest = read_manifest(directory)
        check_files(directory, manifest, besides=native_engines(manifest))
        device = load_target(target or manifest.target)
        if not (file := target_file(target or manifest.target)).ships:
            progress(f"target {device.name} is from {file.sentence()}")
        backend = _backend(device)
        backend.check_target(device)
        manifest, remarks = without_damaged(directory, manifest, device)
        plans = bundle_plans(manifest, device, backend, options)
        check_buffers(manifest.wiring, plans, device)
        remarks += replacing(manifest, device, plans)
        elsewhere = None if manifest.plans else manifest.target
        plans_of_all = {**manifest.plans, device.name: plans}
        manifest = msgspec.structs.replace(manifest, plans=plans_of_all)
        works = [
            _work(directory, manifest, backend, name=c.name, plan=plans[c.name])
            for c in manifest.wiring.components
        ]
        for line in (*remarks, _expectation(works)):
            progress(line)
        rows = []
        for work in works:
            was_there = work.built is not None
            if not was_there:
                with _graphs_are_for(elsewhere, device.name):
                    manifest = _add_engine(
                        directory, manifest, work, backend, progress, device=device
                    )
            rows.append(_row(directory, manifest, work, was_there=was_there))
    facts = {"bundle": str(directory), "target": device.name, "engines": rows}
    return facts | {"remarks": remarks}


def _backend(device: Target) -> NativeBackend:
    backend = native_backend(device)
    if backend is None:
        raise BuildError(
            f"target {device.name!r} has no engines of its own to build",
            found=f"backend {device.backend}, which runs the bundle's graphs as they are",
            hint="mmedge run BUNDLE, or name another --target (mmedge targets)",
        )
    return backend


def _work(
    directory: Path, manifest: Manifest, backend: NativeBackend, *, name: str, plan: EnginePlan
) -> Work:
    portable = manifest.engines[name][-1]
    if not portable.file.endswith(".onnx"):
        raise BundleError(f"the bundle has no graph of component {name!r}", found=portable.file)
    wanted = (plan.kind, plan.digest(), backend.stamps(plan, bundle=directory))
    found = (e for e in manifest.engines[name] if (e.kind, e.plan, e.built_with) == wanted)
    built = next(found, None)
    return Work(name, directory / portable.file, plan, built)


def _expectation(works: list[Work]) -> str:
    """What is going to be done, before it begins."""
    wanted = [work for work in works if work.built is None]
    if not wanted:
        return "every engine is there, and built as it would be now"
    weights = [_bytes_of(work.graph) for work in wanted]
    memory = available_memory()
    there = f"{memory.size_bytes / 1e9:.1f} GB are available" if memory else "available: ?"
    kept = len(works) - len(wanted)
    count = f"{len(wanted)} engine{'s' * (len(wanted) > 1)}"
    return (
        f"building {count}{f', {kept} are there' if kept else ''}: from "
        f"{sum(weights) / 1e6:.0f} MB of graphs, the largest {max(weights) / 1e6:.0f} MB, which a "
        f"builder holds a few times over in memory ({there})"
    )


def _bytes_of(graph: Path) -> int:
    """Of a graph with its external weights."""
    files = (graph, graph.with_suffix(".data"))
    return sum(path.stat().st_size for path in files if path.is_file())


@contextmanager
def _graphs_are_for(elsewhere: str | None, target: str) -> Iterator[None]:
    """While active, what is refused is told to be graphs for the target `elsewhere`, if they are.

    A compile for a target writes graphs as its engines take them.
    """
    try:
        yield
    except BuildError as error:
        if elsewhere is None:
            raise
        parts = {key: error.details[key] for key in ("found", "expected", "where")}
        hint = f"the bundle was compiled for {elsewhere}: mmedge compile MODEL --target {target}"
        own = error.details["try"]
        hint = hint if own is None else f"{own}\n{hint}"
        raise BuildError(error.what, **parts, hint=hint) from error


def _add_engine(
    directory: Path,
    manifest: Manifest,
    work: Work,
    backend: NativeBackend,
    progress: Progress,
    *,
    device: Target,
) -> Manifest:
    """Build one engine, and replace the bundle by one that also has it."""
    component = manifest.wiring.component(work.component)
    with atomic_directory(directory, ours=is_bundle) as fresh:
        for name in manifest.files:
            place(directory / name, fresh / name)
        (fresh / ENGINES).mkdir(exist_ok=True)
        built = backend.build(
            component,
            work.graph,
            plan=work.plan,
            directory=fresh / ENGINES,
            progress=progress,
        )
        buffers = {work.component: buffers_of(component, work.plan.profiles)}
        check_fits({work.component: built}, device, buffers=buffers)
        for name, source in built.plugin_files.items():
            if not (fresh / name).exists():
                place(Path(source), fresh / name)
        changed = _with_engine(manifest, work, built)
        data = msgspec.json.format(msgspec.json.encode(changed), indent=1)
        (fresh / MANIFEST).write_bytes(data)
    return changed


def _with_engine(manifest: Manifest, work: Work, built: EngineFile) -> Manifest:
    """The manifest with the engine first; one for the same GPU gives way to it."""
    file = f"{ENGINES}/{Path(built.path).name}"
    engine = as_engine(built, file, plan=work.plan)
    others = tuple(e for e in manifest.engines[work.component] if e.file != file)
    plugins = {name: sha256_file(Path(path)) for name, path in built.plugin_files.items()}
    changed = msgspec.structs.replace(
        manifest,
        engines={**manifest.engines, work.component: (engine, *others)},
        files={**manifest.files, file: sha256_file(Path(built.path)), **plugins},
    )
    return sealed(changed)


def _row(directory: Path, manifest: Manifest, work: Work, *, was_there: bool) -> dict[str, Any]:
    engine = manifest.engines[work.component][0] if work.built is None else work.built
    return {
        "component": work.component,
        "file": engine.file,
        "precision": engine.precision,
        "built_with": engine.built_with,
        "size_bytes": (directory / engine.file).stat().st_size,
        "was_there": was_there,
        "profiles": msgspec.to_builtins(work.plan.profiles),
    }
