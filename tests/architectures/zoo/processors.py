"""Upstream processors: as they are, and those that insist on videos made to do without."""

from __future__ import annotations

import importlib
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch


class WithoutVideo:
    """Mixed into a processor class: its last part, the video processor, is None."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        parts: list[str] = super().get_attributes()  # type: ignore[misc]
        return [part for part in parts if part != "video_processor"]

    @classmethod
    def _get_arguments_from_pretrained(cls, *given: Any, **options: Any) -> list[Any]:
        return [*super()._get_arguments_from_pretrained(*given, **options), None]  # type: ignore[misc]


def without_video(name: str) -> Any:
    """The processor class `name`, less its video processor, which wants torchvision.

    What it saves bears upstream's name.
    """
    import transformers

    return type(name, (WithoutVideo, getattr(transformers, name)), {})


class Parts:
    """An image processor and a tokenizer that upstream has no common class for."""

    def __init__(self, image_processor: Any, tokenizer: Any) -> None:
        self.image_processor = image_processor
        self.tokenizer = tokenizer

    def __call__(self, images: Any, **options: Any) -> Any:
        return self.image_processor(images, **options)

    def save_pretrained(self, directory: Path) -> None:
        self.image_processor.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)


@cache
def pixtral() -> Any:
    """PixtralProcessor, which asks for torchvision but only needs what its Pillow twin has."""
    package = "transformers.models.pixtral"
    twin = importlib.import_module(f"{package}.image_processing_pil_pixtral")
    with patch.dict(sys.modules, {f"{package}.image_processing_pixtral": twin}):
        return importlib.import_module(f"{package}.processing_pixtral").PixtralProcessor


def load(directory: Path) -> Any:
    """What a user of transformers preprocesses with."""
    import transformers

    file = directory / "processor_config.json"
    name = json.loads(file.read_text()).get("processor_class") if file.exists() else None
    if name == "PixtralProcessor":
        return pixtral().from_pretrained(directory)
    if name and "video_processor" in getattr(transformers, name).get_attributes():
        return without_video(name).from_pretrained(directory)
    older = directory / "preprocessor_config.json"
    said = json.loads(older.read_text()) if older.exists() else {}
    if "image_processor_type" in said and "processor_class" not in said:
        images = transformers.AutoImageProcessor.from_pretrained(directory)
        if not (directory / "tokenizer_config.json").exists():
            return images
        return Parts(images, transformers.AutoTokenizer.from_pretrained(directory))
    auto = transformers.AutoProcessor if name or older.exists() else transformers.AutoTokenizer
    return auto.from_pretrained(directory)
