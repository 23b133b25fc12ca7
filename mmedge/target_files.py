"""Where targets are written: files NAME.toml in several directories, the first of them wins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmedge.resources import data_dir


@dataclass(frozen=True)
class TargetFile:
    """A target's file. replaces: another of its name, in a directory that comes later."""

    path: Path
    replaces: Path | None = None

    @property
    def ships(self) -> bool:
        """Whether it came with mmedge."""
        return self.path.parent == data_dir("profiles/targets")

    def sentence(self) -> str:
        """Which file it is, for whoever may not know that there are two."""
        return f"{self.path}{f', in place of {self.replaces}' if self.replaces else ''}"


def target_directories(search: Sequence[Path]) -> list[Path]:
    """Those of `search`, the user's own, and the one that ships."""
    # The XDG base directory specification: an empty or relative value counts as not set.
    configured = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    config = configured if configured.is_absolute() else Path.home() / ".config"
    return [*search, config / "mmedge" / "targets", data_dir("profiles/targets")]


def target_files(search: Sequence[Path]) -> dict[str, TargetFile]:
    """Target name -> its file, the first directory's where several have it."""
    files: dict[str, TargetFile] = {}
    for directory in target_directories(search):
        for path in sorted(directory.glob("*.toml")):
            first = files.get(path.stem)
            files[path.stem] = TargetFile(path) if first is None else TargetFile(first.path, path)
    return files
