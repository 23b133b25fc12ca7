"""The inputs of a Hugging Face model, from its config.json and processor files."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from mmedge.checkpoint.modality import guess_input
from mmedge.checkpoint.summary import InputGuess
from mmedge.errors import MissingDependencyError
from mmedge.optional import require


def config_inputs(directory: Path, config: dict[str, Any]) -> tuple[InputGuess, ...]:
    """Tensor inputs of the model, in the order of its forward where transformers is installed."""
    inputs = [*_text_inputs(directory, config), *_image_inputs(directory, config)]
    inputs += _audio_inputs(config)
    order = _forward_order(config)
    if order:
        inputs = [item for item in inputs if item.name in order]
        inputs.sort(key=lambda item: order.index(item.name))
    return tuple(inputs)


def config_axes(config: dict[str, Any]) -> dict[str, tuple[int, int | None]]:
    """Name -> (smallest, largest size) of axes that the config bounds.

    A text is at least two tokens long: torch.export takes a size of one for a constant.
    """
    positions = (config.get("text_config") or config).get("max_position_embeddings")
    return {"length": (2, int(positions))} if positions else {}


def _text_inputs(directory: Path, config: dict[str, Any]) -> list[InputGuess]:
    text = config.get("text_config") or config
    if "vocab_size" not in text and "text_config" not in config:
        return []
    tokenizer = (directory / "tokenizer.json").is_file()
    preprocess: dict[str, object] = (
        {"kind": "text", "tokenizer": "tokenizer.json"} if tokenizer else {}
    )
    ids = InputGuess("input_ids", "text", "int64", ("batch", "length"), preprocess=preprocess)
    return [ids, guess_input("attention_mask")]


def _image_inputs(directory: Path, config: dict[str, Any]) -> list[InputGuess]:
    vision = config.get("vision_config") or config
    if "image_size" not in vision:
        return []
    size = vision["image_size"]
    height, width = size if isinstance(size, list) else (size, size)
    processor = _processor(directory)
    preprocess: dict[str, object] = {}
    if processor.get("image_mean") and processor.get("image_std"):
        statistics = {"mean": processor["image_mean"], "std": processor["image_std"]}
        preprocess = {"kind": "image", "size": [height, width], **statistics}
    shape = ("batch", int(vision.get("num_channels", 3)), int(height), int(width))
    return [InputGuess("pixel_values", "image", "float32", shape, sure=True, preprocess=preprocess)]


def _audio_inputs(config: dict[str, Any]) -> list[InputGuess]:
    audio = config.get("audio_config") or config
    if "num_mel_bins" in audio:
        # Whisper's encoder takes a fixed window: two frames for each of its positions.
        positions = audio.get("max_source_positions")
        frames: int | str = 2 * int(positions) if positions else "frames"
        shape = ("batch", int(audio["num_mel_bins"]), frames)
        return [InputGuess("input_features", "audio", "float32", shape)]
    if "conv_stride" in audio and "feat_extract_norm" in audio:
        return [InputGuess("input_values", "audio", "float32", ("batch", "samples"))]
    return []


def _processor(directory: Path) -> dict[str, Any]:
    for name in ("preprocessor_config.json", "processor_config.json"):
        try:
            loaded = json.loads((directory / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        image = loaded.get("image_processor", loaded) if isinstance(loaded, dict) else None
        if isinstance(image, dict):
            return image
    return {}


def _forward_order(config: dict[str, Any]) -> list[str]:
    try:
        transformers = require("transformers")
        model_class = getattr(transformers, (config.get("architectures") or [""])[0], None)
    except MissingDependencyError:
        return []
    forward = getattr(model_class, "forward", None)
    return list(inspect.signature(forward).parameters) if forward else []
