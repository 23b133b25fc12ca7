"""From a finished artifact to a bundle directory, written whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from mmedge.artifact import Artifact, EngineFile
from mmedge.engine_plan import EnginePlan
from mmedge.errors import BundleError, ProjectError
from mmedge.placing import place
from mmedge.project import PROJECT_FILE, Project
from mmedge.runtime.manifest import MANIFEST, SCHEMA, Engine, Golden, Manifest, is_bundle, sealed
from mmedge.runtime.preprocess import preprocess_files
from mmedge.runtime.processors import load_processor
from mmedge.storage import atomic_directory, sha256_file
from mmedge.strict import nearest

REPORT_JSON = "report.json"
REPORT_HTML = "report.html"
GOLDEN = "golden.npz"
TOKENIZER = "tokenizer.json"
RESERVED = (MANIFEST, REPORT_JSON, REPORT_HTML, GOLDEN, "engines", "substitutes", "plugins")
Render = Callable[[dict[str, Any]], str]


def pack(
    artifact: Artifact, project: Project, output: Path, *, report: dict[str, Any], render: Render
) -> Manifest:
    """Write the bundle of `artifact` to `output` and return its manifest.

    report: the content of report.json; `render` makes report.html of it.
    Raises OutputError if `output` cannot be written; then nothing is left there.
    """
    with atomic_directory(output, ours=is_bundle) as directory:
        engines: dict[str, tuple[Engine, ...]] = {
            name: _copy_engines(artifact, name, directory) for name in artifact.engines
        }
        for name in _shipped_files(project):
            _copy(project.path(name), directory / name)
        for source, substitute in artifact.wired.substitutes.items():
            if substitute.file:
                _copy(Path(artifact.substitutes[source]), directory / substitute.file)
        _copy(_golden(artifact), directory / GOLDEN)
        _write_report(directory, report, render)
        manifest = _manifest(artifact, project, directory, engines)
        data = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        (directory / MANIFEST).write_bytes(data)
    return manifest


def _copy_engines(artifact: Artifact, name: str, directory: Path) -> tuple[Engine, ...]:
    """A component's engines, the best first: the target's own, then the one for any machine."""
    portable, native = artifact.engines[name], artifact.native_engines.get(name)
    own = () if native is None else (_copy_engine(native, directory, plan=artifact.plans[name]),)
    return (*own, _copy_engine(portable, directory))


def as_engine(built: EngineFile, file: str, *, plan: EnginePlan | None = None) -> Engine:
    """A built engine as a manifest lists it. file: relative to the bundle."""
    digest = plan.digest() if plan else ""
    return Engine(built.kind, file, built.precision, built.built_with, built.options, digest)


def _copy_engine(engine: EngineFile, directory: Path, *, plan: EnginePlan | None = None) -> Engine:
    """The engine's file and its external weights, which the file refers to by name."""
    source = Path(engine.path)
    _copy(source, directory / "engines" / source.name)
    for name, file in engine.plugin_files.items():
        _copy(Path(file), directory / name)
    weights = source.with_suffix(".data")
    if source.suffix == ".onnx" and weights.is_file():
        place(weights, directory / "engines" / weights.name)
    return as_engine(engine, f"engines/{source.name}", plan=plan)


def check_shipped(project: Project) -> None:
    """Raise ProjectError unless every file that would travel in the bundle can."""
    for name in _shipped_files(project):
        path = project.path(name)
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or not path.is_file():
            raise ProjectError(
                f"{name!r} cannot travel in the bundle",
                expected="a file inside the project directory",
                where=project.directory / PROJECT_FILE,
                hint="copy it into the project",
            )
        if parts.parts[0] in RESERVED:
            raise ProjectError(
                f"{name!r} has a name that the bundle itself uses",
                expected=f"none of {', '.join(RESERVED)}",
                where=project.directory / PROJECT_FILE,
            )
    for output, table in project.file.outputs.items():
        if table.labels is not None:
            _read_labels(project.path(table.labels), output)


def _shipped_files(project: Project) -> list[str]:
    names = [name for item in project.model_inputs() for name in preprocess_files(item)]
    if project.file.processor:
        names += load_processor(project.file.processor, where="[processor]").files()
        # A model that takes no text may make one: what turns its tokens into text goes along.
        names += [TOKENIZER] if (project.processor_directory / TOKENIZER).is_file() else []
    names += [table.labels for table in project.file.outputs.values() if table.labels]
    return [*dict.fromkeys(names)]


def _labels(project: Project, artifact: Artifact) -> dict[str, str]:
    """Output -> its file of class names; ProjectError where they are not that output's."""
    specs = artifact.wired.sources()
    labels = {}
    for output, table in project.file.outputs.items():
        if output not in artifact.wired.outputs:
            raise ProjectError(
                f"[outputs.{output}] is not an output of the model",
                where=project.directory / PROJECT_FILE,
                hint=nearest(output, list(artifact.wired.outputs)),
            )
        if table.labels is None:
            continue
        spec = specs.get(artifact.wired.outputs[output])
        count = len(_read_labels(project.path(table.labels), output))
        classes = spec.shape[-1] if spec is not None and spec.shape else None
        if isinstance(classes, int) and classes != count:
            raise ProjectError(
                f"the labels of output {output!r} are not one for each class",
                found=f"{count} labels",
                expected=f"{classes}, the last dimension of {spec}",
                where=project.path(table.labels),
            )
        labels[output] = table.labels
    return labels


def _read_labels(path: Path, output: str) -> list[str]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[str])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProjectError(
            f"the labels of output {output!r} are not a JSON list of strings",
            found=error,
            where=path,
        ) from error


def _write_report(directory: Path, report: dict[str, Any], render: Render) -> None:
    text = json.dumps(report, indent=1, allow_nan=False)
    (directory / REPORT_JSON).write_text(text + "\n", encoding="utf-8")
    (directory / REPORT_HTML).write_text(render(report), encoding="utf-8")


def _golden(artifact: Artifact) -> Path:
    if artifact.golden is None:
        raise BundleError("the artifact was not verified: it has no golden inputs and outputs")
    return Path(artifact.golden)


def _manifest(
    artifact: Artifact,
    project: Project,
    directory: Path,
    engines: dict[str, tuple[Engine, ...]],
) -> Manifest:
    files = {
        path.relative_to(directory).as_posix(): sha256_file(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
    provenance = artifact.provenance
    manifest = Manifest(
        schema=SCHEMA,
        name=provenance.name,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        versions=provenance.versions,
        target=provenance.target,
        checkpoint_sha256=provenance.checkpoint_sha256,
        wiring=artifact.wired,
        engines=engines,
        golden=Golden(GOLDEN, artifact.records["verify"]["golden_tolerance"]),
        files=files,
        plans={provenance.target: artifact.plans} if artifact.plans else {},
        labels=_labels(project, artifact),
        processor=project.file.processor,
    )
    return sealed(manifest)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
