"""Loading a Hugging Face directory with the class its config names: offline, without its code."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmedge.checkpoint.apply import check_finite
from mmedge.checkpoint.formats import find_index
from mmedge.checkpoint.header import TensorEntry, safetensors_header, shard_files
from mmedge.checkpoint.record import AppliedWeights, dtype_name, listing, summarize_weights
from mmedge.errors import CheckpointError
from mmedge.optional import require

if TYPE_CHECKING:
    import torch

SINGLE_FILE = "model.safetensors"


def read_config(directory: Path) -> dict[str, Any]:
    """config.json as a dict; CheckpointError where it is not a JSON object."""
    path = directory / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CheckpointError("config.json cannot be read", found=error, where=path) from error
    if not isinstance(config, dict):
        raise CheckpointError("config.json is not a JSON object", where=path)
    return config


def checked_config(directory: Path) -> dict[str, Any]:
    """config.json of a model that mmedge loads; CheckpointError says why it does not."""
    config = read_config(directory)
    _check_config(config, directory)
    return config


def weight_files(directory: Path) -> tuple[Path, ...]:
    """The safetensors files of the directory; CheckpointError where any is missing."""
    index = find_index(directory)
    if index is not None:
        return shard_files(index)
    if (directory / SINGLE_FILE).is_file():
        return (directory / SINGLE_FILE,)
    others = sorted(p.name for p in directory.glob("*") if p.suffix in {".bin", ".pt", ".h5"})
    raise CheckpointError(
        "the directory has config.json and no safetensors weights",
        found=", ".join(others) or "no weights",
        expected=f"{SINGLE_FILE}, or shards with {SINGLE_FILE}.index.json",
        where=directory,
        hint="model.save_pretrained(directory) writes them",
    )


def load_pretrained(directory: Path) -> tuple[torch.nn.Module, AppliedWeights]:
    """The model of a Hugging Face directory in float32, and what was loaded into it.

    Nothing is downloaded, no code of the directory is run, and a weight that is missing,
    mis-shaped or not finite is a CheckpointError: transformers would initialise it at random.
    """
    config = read_config(directory)
    _check_config(config, directory)
    stored = [entry for file in weight_files(directory) for entry in safetensors_header(file)]
    with _offline(), _quiet():
        model, info = _from_pretrained(config, directory)
    _check_loaded(info, directory)
    state = model.state_dict()
    check_finite(model, state, where=directory)
    return model, _record(model, stored, info)


def _check_config(config: dict[str, Any], directory: Path) -> None:
    where = directory / "config.json"
    if config.get("auto_map"):
        raise CheckpointError(
            "the model is defined by Python code in its directory, which mmedge does not run",
            found=f"auto_map: {', '.join(map(str, config['auto_map'].values()))}",
            where=where,
            hint="make that code the [model] factory of a project, and the weights its checkpoint",
        )
    if quantization := config.get("quantization_config"):
        raise CheckpointError(
            "the checkpoint is already quantized",
            found=quantization.get("quant_method", quantization),
            expected="weights in floating point",
            where=where,
            hint="give mmedge the original checkpoint: it quantizes by itself",
        )
    if not config.get("architectures"):
        raise CheckpointError(
            "config.json names no model class",
            expected='"architectures": ["..."], as model.save_pretrained writes it',
            where=where,
        )


def _from_pretrained(config: dict[str, Any], directory: Path) -> tuple[Any, dict[str, Any]]:
    torch, transformers = require("torch"), require("transformers")
    name = config["architectures"][0]
    model_class = getattr(transformers, name, None)
    if model_class is None:
        raise CheckpointError(
            f"transformers {transformers.__version__} has no class {name!r}",
            where=directory / "config.json",
            hint="pip install --upgrade transformers",
        )
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        parsed = transformers.AutoConfig.from_pretrained(directory, **local)
        model, info = model_class.from_pretrained(
            directory,
            config=parsed,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **local,
        )
    except Exception as error:  # transformers raises ValueError, OSError, KeyError, RuntimeError
        raise CheckpointError(
            f"transformers {transformers.__version__} cannot load the checkpoint as {name}",
            found=f"{type(error).__name__}: {str(error)[:500]}",
            where=directory,
        ) from error
    return model, info


def _check_loaded(info: dict[str, Any], directory: Path) -> None:
    misshapen = [
        f"{name}: found {list(found)}, expected {list(expected)}"
        for name, found, expected in sorted(info["mismatched_keys"])
    ]
    kinds = {
        "missing": sorted(info["missing_keys"]),
        "mis-shaped": misshapen,
        "not loaded": [str(message) for message in info.get("error_msgs") or []],
    }
    found = [f"{len(names)} {kind}:\n{listing(names)}" for kind, names in kinds.items() if names]
    if found:
        unexpected = sorted(info["unexpected_keys"])
        unused = [f"{len(unexpected)} unexpected:\n{listing(unexpected)}"] if unexpected else []
        raise CheckpointError(
            "the checkpoint does not fit the model that config.json describes",
            found="\n".join(found + unused),
            expected="every weight of the model",
            where=directory,
            hint="these would be random: use the checkpoint that belongs to this config.json",
        )


def _record(
    model: torch.nn.Module, stored: list[TensorEntry], info: dict[str, Any]
) -> AppliedWeights:
    own = model.state_dict()
    stored_dtypes = {entry.name: entry.dtype for entry in stored}
    converted = {
        name: f"{stored_dtypes[name]} -> {dtype_name(tensor)}"
        for name, tensor in own.items()
        if stored_dtypes.get(name, dtype_name(tensor)) != dtype_name(tensor)
    }
    unexpected = sorted(info["unexpected_keys"])
    notes = (f"left out, not part of the model: {listing(unexpected)}",) if unexpected else ()
    return summarize_weights(model, stored, converted=converted, notes=notes)


@contextmanager
def _offline() -> Iterator[None]:
    """No network while active: the variable for child processes, the flag for this one."""
    constants = vars(require("huggingface_hub.constants"))
    variable, flag = os.environ.get("HF_HUB_OFFLINE"), constants["HF_HUB_OFFLINE"]
    os.environ["HF_HUB_OFFLINE"], constants["HF_HUB_OFFLINE"] = "1", True
    try:
        yield
    finally:
        constants["HF_HUB_OFFLINE"] = flag
        if variable is None:
            os.environ.pop("HF_HUB_OFFLINE", None)
        else:
            os.environ["HF_HUB_OFFLINE"] = variable


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars and reports of transformers: mmedge reports by itself."""
    logging = require("transformers").utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
