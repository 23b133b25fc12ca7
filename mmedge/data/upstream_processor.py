"""The processor class of transformers that belongs to a checkpoint, loaded as far as it can be.

A class that also prepares videos wants torchvision for them; images, texts and sounds do not
need it, so that such a class is loaded without its video part.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmedge.optional import require

CLASSES = ("AutoProcessor", "AutoImageProcessor", "AutoFeatureExtractor", "AutoTokenizer")
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
VIDEO = "video_processor"
# The one file of a fast tokenizer, whatever the class names its older ones.
FAST_TOKENIZER = "tokenizer.json"


def upstream_processors(directory: Path) -> Iterator[Any]:
    """The checkpoint's processor, or parts of one where there is none, as transformers loads it."""
    transformers = require("transformers")
    without_video = _without_video(transformers, directory)
    kinds = [getattr(transformers, name) for name in CLASSES]
    for kind in (*([without_video] if without_video else ()), *kinds):
        found = _loaded(kind, directory)
        if found is not None and _has_its_words(found, directory):
            yield found


def _loaded(kind: Any, directory: Path) -> Any:
    options = {} if VIDEO in kind.__dict__ else {"trust_remote_code": False}
    try:
        return kind.from_pretrained(directory, local_files_only=True, **options)
    except Exception:  # whatever it lacks: a library, a file, a class
        return None


def _has_its_words(processor: Any, directory: Path) -> bool:
    """Without any of its files, transformers 5 makes up a tokenizer with next to no words."""
    tokenizer = getattr(processor, "tokenizer", processor)
    files = dict(getattr(tokenizer, "vocab_files_names", {})).values()
    return not files or any((directory / file).is_file() for file in (*files, FAST_TOKENIZER))


def _without_video(transformers: Any, directory: Path) -> Any:
    """The class that the files name, less its video part; None where it has no such part."""
    kind: Any = getattr(transformers, _class_name(directory), None)
    if VIDEO not in _parts(kind):
        return None

    class WithoutVideo(kind):  # type: ignore[misc]
        """Its video processor, which no input of ours is for, is None."""

        video_processor = None

        @classmethod
        def get_attributes(cls) -> list[str]:
            return [part for part in super().get_attributes() if part != VIDEO]

    WithoutVideo.__name__ = kind.__name__
    return WithoutVideo


def _parts(kind: Any) -> list[str]:
    try:
        return list(kind.get_attributes())
    except (AttributeError, ImportError):  # no processor, or one that lacks a library
        return []


def _class_name(directory: Path) -> str:
    for file in PROCESSOR_FILES:
        try:
            stored = json.loads((directory / file).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(stored, dict) and isinstance(stored.get("processor_class"), str):
            return str(stored["processor_class"])
    return ""
