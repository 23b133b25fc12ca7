"""Engines of a bundle that are not what they were: to be built again, from graphs that are."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mmedge.runtime.manifest import Manifest, damage_of, native_engines
from mmedge.targets import Target


def without_damaged(
    directory: Path, manifest: Manifest, device: Target
) -> tuple[Manifest, list[str]]:
    """The manifest without engines whose files are missing or changed; and a line on each.

    Those of `device` are about to be built again; of others it is told how.
    """
    lines, lost = [], set()
    for file, target in native_engines(manifest).items():
        damage = damage_of(directory, manifest, file)
        if damage is not None:
            remedy = "it is built again" if target == device.name else damage.details["try"]
            lines.append(f"{damage.what}; {remedy}")
            lost.add(file)
    engines = {
        name: tuple(engine for engine in group if engine.file not in lost)
        for name, group in manifest.engines.items()
    }
    files = {name: digest for name, digest in manifest.files.items() if name not in lost}
    return msgspec.structs.replace(manifest, engines=engines, files=files), lines
