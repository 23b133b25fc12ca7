"""manifest.json: what a bundle holds, how it is wired, and the hash of every file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container
from pathlib import Path, PurePosixPath

import msgspec

from mmedge.engine_plan import EnginePlan
from mmedge.errors import BundleError, ProjectError
from mmedge.runtime.preprocess import preprocess_files
from mmedge.runtime.processors import load_processor
from mmedge.storage import sha256_file
from mmedge.wiring import Wiring

MANIFEST = "manifest.json"
# Of a project, and of a Hugging Face checkpoint: a directory that bundles are compiled from.
COMPILABLE = ("mmedge.toml", "config.json")
SCHEMA = 2


class Engine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way to run a component; a bundle lists a component's engines best first.

    built_with: what it was built with and for ("tensorrt", "compute_capability", ...); a kind that
        is tied to these refuses to open an engine whose own are others.
    options: what the kind's runner is opened with (`mmedge.runtime.runner.open_engine`).
    plan: digest of the plan it was built by; empty where there was none.
    """

    kind: str
    file: str
    precision: str
    built_with: dict[str, str]
    options: dict[str, str] = {}
    plan: str = ""


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Inputs and the original model's outputs for them, to check an engine on the device.

    The file is a .npz with arrays "input:NAME" and "output:NAME", and of engines that round to 16
    bits "margin:NAME": how far the model's second best token is behind its best, relative to the
    largest score. tolerance: by output, the largest difference allowed, relative to the largest
    value of that output; of tokens, the largest margin with which another may be chosen.
    """

    file: str
    tolerance: dict[str, float]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bundle. `files` covers every file but this one: relative path -> SHA-256.

    plans: target -> component -> how its engine for that target is built from the graph of its
        portable engine, the last; empty where the target runs that graph itself.
    processor: options of `mmedge.runtime.processors`; empty where each input is preprocessed by
        itself. The files that it reads are among `files`.
    checksum: SHA-256 of this manifest as compact JSON with an empty checksum; see `sealed`.
    """

    schema: int
    name: str
    created: str
    versions: dict[str, str]
    target: str
    checkpoint_sha256: str
    wiring: Wiring
    engines: dict[str, tuple[Engine, ...]]
    golden: Golden
    files: dict[str, str]
    plans: dict[str, dict[str, EnginePlan]] = {}
    labels: dict[str, str] = {}
    processor: dict[str, object] = {}
    checksum: str = ""


def sealed(manifest: Manifest) -> Manifest:
    """The manifest with its checksum, which finds damage; it is no signature."""
    plain = msgspec.structs.replace(manifest, checksum="")
    checksum = hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()
    return msgspec.structs.replace(manifest, checksum=checksum)


def read_manifest(directory: Path) -> Manifest:
    """The manifest of the bundle in `directory`; BundleError if there is none to trust."""
    path = directory / MANIFEST
    try:
        if path.is_symlink():
            raise BundleError(f"{MANIFEST} is a link, not a file", where=directory)
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{directory} is not a bundle",
            found=error.strerror,
            expected=f"a directory with {MANIFEST}",
            hint=_instead_of(directory),
        ) from error
    try:
        schema = msgspec.json.decode(data, type=_SchemaOnly).schema
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BundleError("the manifest is damaged", found=error, where=path) from error
    if schema != SCHEMA:
        raise BundleError(
            "the bundle has a schema that this mmedge does not read",
            found=schema,
            expected=SCHEMA,
            where=path,
            hint="pip install --upgrade mmedge" if schema > SCHEMA else "compile it again",
        )
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BundleError("the manifest is damaged", found=error, where=path) from error
    if manifest != sealed(manifest):
        raise BundleError(
            "the manifest is damaged: it was changed after it was written",
            found=f"checksum {manifest.checksum or 'missing'}",
            expected=f"checksum {sealed(manifest).checksum}",
            where=path,
            hint="copy the bundle again, or compile it again",
        )
    try:
        manifest.wiring.check()
        _check_names(manifest, path)
    except ProjectError as error:
        raise BundleError(f"the manifest contradicts itself: {error}", where=path) from error
    return manifest


def check_files(directory: Path, manifest: Manifest, *, besides: Container[str] = ()) -> None:
    """Raise BundleError naming the file unless every file is there, unchanged, and no other is.

    besides: files of the manifest that are not looked at.
    """
    for name in manifest.files:
        damage = None if name in besides else damage_of(directory, manifest, name)
        if damage is not None:
            raise damage
    extra = sorted(_present(directory) - set(manifest.files) - {MANIFEST})
    if extra:
        raise BundleError(
            f"{extra[0]} is in the bundle and not in its manifest",
            where=directory,
            found=extra,
            hint="move it out of the bundle, or copy the bundle again",
        )


def damage_of(directory: Path, manifest: Manifest, name: str) -> BundleError | None:
    """What is wrong with a file of the manifest; None where it is there and unchanged."""
    path, expected = directory / name, manifest.files[name]
    found = None
    if not _is_file(path):
        what = f"{name} is missing from the bundle"
    elif path.resolve() != directory.resolve() / name:
        what = f"{name} is a link, not a file of the bundle"
    else:
        found = sha256_file(path)
        if found == expected:
            return None
        what = f"{name} is not the file that was compiled: it was changed or truncated"
    return BundleError(
        what,
        found=found and f"sha256 {found}",
        expected=found and f"sha256 {expected}",
        where=directory,
        hint=_remedy(directory, manifest, name),
    )


def _remedy(directory: Path, manifest: Manifest, name: str) -> str:
    target = native_engines(manifest).get(name)
    if target is not None:
        return f"build it again: mmedge build {directory} --target {target}"
    return "copy the bundle again, or compile it again"


def native_engines(manifest: Manifest) -> dict[str, str]:
    """The engines that can be built again from the bundle's graphs: file -> target.

    A component's last engine is its graph, without which nothing can be built.
    """
    found = {
        engine.file: _target_of(engine, component, manifest)
        for component, engines in manifest.engines.items()
        for engine in engines[:-1]
    }
    needed = {*_named(manifest), *(engines[-1].file for engines in manifest.engines.values())}
    return {file: target for file, target in found.items() if file not in needed}


def _target_of(engine: Engine, component: str, manifest: Manifest) -> str:
    """By the plan it was built by; the bundle's own where there is none of it any more."""
    for target, plans in manifest.plans.items():
        if component in plans and plans[component].digest() == engine.plan:
            return target
    return manifest.target


def bundle_around(path: Path) -> Path | None:
    """The bundle that `path` is a part of; None where it is in none, or is one itself."""
    return next((up for up in path.resolve().parents if is_bundle(up)), None)


def _instead_of(directory: Path) -> str | None:
    """What to do with something that is no bundle, where that can be told from what it is."""
    if any((directory / name).is_file() for name in COMPILABLE):
        name = directory.resolve().name
        return f"compile it first: mmedge compile {directory} -o {name}.mmedge"
    around = bundle_around(directory) if directory.exists() else None
    return None if around is None else f"it is a part of the bundle {around}: name that"


def is_bundle(directory: Path) -> bool:
    """Whether `directory` holds what a manifest of mmedge lists, and nothing else.

    The schema may be older or newer, and files may be damaged: what is asked is whether the
    directory may be replaced, and a manifest.json alone is no proof (browser extensions have one).
    """
    try:
        listed = msgspec.json.decode((directory / MANIFEST).read_bytes(), type=_FilesOnly)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return _present(directory) <= {*listed.files, MANIFEST}


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # no such name can be: too long
        return False


def _present(directory: Path) -> set[str]:
    """Relative names of all files below `directory`; a link to a directory counts as a file."""
    return {
        path.relative_to(directory).as_posix()
        for root, directories, files in os.walk(directory)
        for path in (Path(root, name) for name in (*directories, *files))
        if path.is_symlink() or not path.is_dir()
    }


class _SchemaOnly(msgspec.Struct):
    schema: int


class _FilesOnly(_SchemaOnly):
    engines: dict[str, msgspec.Raw]
    files: dict[str, str]


def _check_names(manifest: Manifest, path: Path) -> None:
    """Names stay inside the bundle, and everything referred to is listed with its hash."""
    for name in manifest.files:
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or "\\" in name or not parts.parts:
            raise BundleError(f"the manifest names a file outside the bundle: {name}", where=path)
    engines = [engine.file for group in manifest.engines.values() for engine in group]
    for name in (*engines, *_named(manifest)):
        if name not in manifest.files:
            raise BundleError(f"the manifest refers to {name} and does not list it", where=path)
    for component in manifest.wiring.components:
        if not manifest.engines.get(component.name):
            raise BundleError(f"component {component.name!r} has no engine", where=path)
    if set(manifest.golden.tolerance) != set(manifest.wiring.outputs):
        raise BundleError(
            "the golden outputs are not the model's",
            found=", ".join(manifest.golden.tolerance),
            expected=", ".join(manifest.wiring.outputs),
            where=path,
        )


def _named(manifest: Manifest) -> list[str]:
    """The files besides its engines that a bundle refers to."""
    named = [manifest.golden.file, *manifest.labels.values()]
    named += [s.file for s in manifest.wiring.substitutes.values() if s.file]
    named += [name for item in manifest.wiring.inputs for name in preprocess_files(item)]
    if manifest.processor:
        named += load_processor(manifest.processor, where="processor").files()
    return named
