"""From a finished artifact to a bundle directory, written whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from mmedge.artifact import Artifact, EngineFile
from mmedge.errors import BundleError, ProjectError
from mmedge.project import Project
from mmedge.runtime.manifest import MANIFEST, SCHEMA, Engine, Golden, Manifest, is_bundle
from mmedge.runtime.preprocess import preprocess_files
from mmedge.storage import atomic_directory, sha256_file

REPORT_JSON = "report.json"
REPORT_HTML = "report.html"
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
            name: (_copy_engine(name, file, directory),) for name, file in artifact.engines.items()
        }
        for name in _preprocessing_files(project):
            _copy(project.path(name), directory / name)
        labels = _copy_labels(project, artifact, directory)
        for source, substitute in artifact.wired.substitutes.items():
            if substitute.file:
                _copy(Path(artifact.substitutes[source]), directory / substitute.file)
        _copy(_golden(artifact), directory / "golden.npz")
        _write_report(directory, report, render)
        manifest = _manifest(artifact, directory, engines, labels)
        data = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        (directory / MANIFEST).write_bytes(data)
    return manifest


def _copy_engine(name: str, engine: EngineFile, directory: Path) -> Engine:
    """The engine's file and its external weights, which the file refers to by name."""
    source = Path(engine.path)
    for path in (source, *source.parent.glob(f"{source.stem}.data")):
        _copy(path, directory / "engines" / path.name)
    return Engine(engine.kind, f"engines/{source.name}", engine.precision, engine.built_with)


def _preprocessing_files(project: Project) -> list[str]:
    return [name for item in project.model_inputs() for name in preprocess_files(item)]


def _copy_labels(project: Project, artifact: Artifact, directory: Path) -> dict[str, str]:
    labels = {}
    for output, table in project.file.outputs.items():
        if output not in artifact.wired.outputs or table.labels is None:
            continue
        path = project.path(table.labels)
        try:
            names = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ProjectError("the labels are not JSON", found=error, where=path) from error
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ProjectError("the labels are not a list of strings", where=path)
        _copy(path, directory / table.labels)
        labels[output] = table.labels
    return labels


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
    directory: Path,
    engines: dict[str, tuple[Engine, ...]],
    labels: dict[str, str],
) -> Manifest:
    files = {
        path.relative_to(directory).as_posix(): sha256_file(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
    provenance = artifact.provenance
    return Manifest(
        schema=SCHEMA,
        name=provenance.name,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        versions=provenance.versions,
        target=provenance.target,
        checkpoint_sha256=provenance.checkpoint_sha256,
        wiring=artifact.wired,
        engines=engines,
        golden=Golden("golden.npz", artifact.records["verify"]["golden_tolerance"]),
        files=files,
        labels=labels,
    )


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
