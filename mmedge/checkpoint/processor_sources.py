"""The files of a checkpoint that describe its processor, old names and new ones, read as one."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmedge.checkpoint.processor_defaults import IMAGES_OF_MODELS, SOUNDS_OF_MODELS

AUDIO_CLASSES = (
    "ASTFeatureExtractor",
    "ClapFeatureExtractor",
    "SeamlessM4TFeatureExtractor",
    "Speech2TextFeatureExtractor",
    "Wav2Vec2FeatureExtractor",
    "WhisperFeatureExtractor",
)
NAMES = (
    "processor_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
)


class UnsupportedError(Exception):
    """Why a part of the processor cannot be converted; what is raised here ends as a reason."""


@dataclass(frozen=True)
class ProcessorSources:
    """What the files say, each part as a dict; {} where it is not there.

    present: the names of those that are there.
    """

    directory: Path
    present: tuple[str, ...]
    processor: dict[str, Any]
    image: dict[str, Any]
    audio: dict[str, Any]
    tokenizer: dict[str, Any]
    config: dict[str, Any]
    chat_template: str | None

    @property
    def image_class(self) -> str:
        """Upstream's image processor without "ImageProcessor": "CLIP"; "" where unnamed."""
        name = self.image.get("image_processor_type") or self.image.get("feature_extractor_type")
        if not name:
            return _of_model(self.config, IMAGES_OF_MODELS)
        return re.sub(r"(ImageProcessor|FeatureExtractor)(Fast|Pil)?$", "", str(name))

    @property
    def audio_class(self) -> str:
        """Upstream's feature extractor: "WhisperFeatureExtractor"; "" where unnamed."""
        named = self.audio.get("feature_extractor_type")
        return str(named) if named else _of_model(self.config, SOUNDS_OF_MODELS)

    @property
    def tokenizer_class(self) -> str:
        """Upstream's tokenizer without "Fast"; "" where unnamed."""
        return str(self.tokenizer.get("tokenizer_class") or "").removesuffix("Fast")

    @property
    def has_tokenizer(self) -> bool:
        """Is there anything of a tokenizer?"""
        return bool(self.tokenizer) or "tokenizer.json" in self.present

    def token(self, name: str, default: str | None = None) -> str | None:
        """A special token by its name ("pad_token"), however it is written."""
        extra = self.tokenizer.get("extra_special_tokens")
        found = self.tokenizer.get(name)
        if found is None and isinstance(extra, dict):
            found = extra.get(name)
        if isinstance(found, dict):
            found = found.get("content")
        return found if isinstance(found, str) else default


def read_sources(directory: Path) -> ProcessorSources:
    """The files of `directory`; UnsupportedError for one that is not JSON of the expected kind."""
    files = {name: _json(directory / name) for name in NAMES if name.endswith(".json")}
    processor, single = files["processor_config.json"], files["preprocessor_config.json"]
    image, audio = processor.pop("image_processor", None), processor.pop("feature_extractor", None)
    kind = str(single.get("feature_extractor_type") or "")
    if kind in AUDIO_CLASSES or "sampling_rate" in single:
        audio = audio or single
    elif single:
        image = image or single
    tokenizer = {**files["special_tokens_map.json"], **files["tokenizer_config.json"]}
    return ProcessorSources(
        directory,
        tuple(name for name in NAMES if (directory / name).is_file()),
        {**_named_class(single), **_named_class(tokenizer), **processor},
        image or {},
        audio or {},
        tokenizer,
        files["config.json"],
        _chat_template(directory, files, processor, tokenizer),
    )


def _of_model(config: dict[str, Any], classes: dict[str, tuple[str, ...]]) -> str:
    """The class that upstream takes for the model's type where a file names none; else ""."""
    model = config.get("model_type")
    return next((name for name, models in classes.items() if model in models), "")


def _json(path: Path) -> dict[str, Any]:
    """The file as a dict; of a tokenizer.json, which may be large, nothing."""
    if path.name == "tokenizer.json" or not path.is_file():
        return {}
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnsupportedError(f"{path.name} cannot be read: {error}") from error
    if not isinstance(loaded, dict):
        raise UnsupportedError(f"{path.name} holds no object")
    return loaded


def _named_class(table: dict[str, Any]) -> dict[str, Any]:
    name = table.get("processor_class")
    return {"processor_class": name} if name else {}


def _chat_template(
    directory: Path, files: dict[str, dict[str, Any]], *tables: dict[str, Any]
) -> str | None:
    """The chat template, from its own file or the other ones; of several the default one."""
    own = directory / "chat_template.jinja"
    if own.is_file():
        return own.read_text(encoding="utf-8")
    for table in (files["chat_template.json"], *tables):
        found = table.get("chat_template")
        if isinstance(found, list):
            found = next((t.get("template") for t in found if t.get("name") == "default"), None)
        if isinstance(found, str):
            return found
    return None
