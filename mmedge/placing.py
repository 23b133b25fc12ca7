"""The bytes of a large file at a second place, without a second copy of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def place(source: Path, target: Path) -> None:
    """Make `target` have the bytes of `source`: a hard link where that is possible, else a copy.

    For files that are written once and only read from then on. Raises OSError as a copy does.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, one without links, or a policy against them
        shutil.copyfile(source, target)
