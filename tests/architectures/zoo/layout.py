"""The files of checkpoints saved before transformers 5, as most of the hub's still are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PARTS = ("image_processor", "feature_extractor")


def as_before_5(directory: Path) -> None:
    """Moves the image processor, or feature extractor, to a preprocessor_config.json of its own.

    processor_config.json keeps the rest, if any is left.
    """
    file = directory / "processor_config.json"
    settings: dict[str, Any] = json.loads(file.read_text())
    part = next(settings.pop(name) for name in PARTS if name in settings)
    kept = {"processor_class": settings["processor_class"]}
    (directory / "preprocessor_config.json").write_text(json.dumps({**part, **kept}, indent=2))
    file.unlink()
    if settings != kept:
        file.write_text(json.dumps(settings, indent=2))
