"""Data that ships with mmedge: inside the wheel under `_data/`, in a checkout at its top level."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def data_dir(name: str) -> Path:
    """The directory `name` ("profiles/targets", "kernels", ...) wherever this install keeps it."""
    installed = PACKAGE / "_data" / name
    return installed if installed.is_dir() else PACKAGE.parent / name
