"""The config and the model class of a Hugging Face directory, before any weight is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmedge.checkpoint.huggingface import checked_config
from mmedge.checkpoint.model_class import model_class
from mmedge.errors import CheckpointError
from mmedge.optional import require
from mmedge.quiet_upstream import quiet_transformers


def config_and_class(directory: Path, *, trusted: bool = False) -> tuple[Any, type[Any]]:
    """The transformers config and the class that it names.

    trusted: whether code of the directory may be run, where transformers has no such class.
    Raises CheckpointError where either is unknown, MissingDependencyError without transformers.
    """
    config = checked_config(directory)
    transformers = require("transformers")
    try:
        with quiet_transformers():
            parsed, found, _ = model_class(config, directory, trusted=trusted)
    except CheckpointError:
        raise
    except Exception as error:  # transformers raises ValueError, OSError, KeyError
        raise CheckpointError(
            f"transformers {transformers.__version__} cannot read config.json",
            found=f"{type(error).__name__}: {str(error)[:500]}",
            where=directory,
        ) from error
    return parsed, found
