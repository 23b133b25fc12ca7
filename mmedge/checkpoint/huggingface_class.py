"""The config and the model class of a Hugging Face directory, before any weight is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmedge.checkpoint.huggingface import checked_config
from mmedge.errors import CheckpointError
from mmedge.optional import require


def config_and_class(directory: Path) -> tuple[Any, type[Any]]:
    """The transformers config and the class that it names; no code of the directory is run.

    Raises CheckpointError where either is unknown, MissingDependencyError without transformers.
    """
    config = checked_config(directory)
    transformers = require("transformers")
    name = config["architectures"][0]
    model_class = getattr(transformers, name, None)
    if model_class is None:
        raise CheckpointError(
            f"transformers {transformers.__version__} has no class {name!r}",
            where=directory / "config.json",
            hint="pip install --upgrade transformers",
        )
    try:
        parsed = transformers.AutoConfig.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # transformers raises ValueError, OSError, KeyError
        raise CheckpointError(
            f"transformers {transformers.__version__} cannot read config.json",
            found=f"{type(error).__name__}: {str(error)[:500]}",
            where=directory,
        ) from error
    return parsed, model_class
