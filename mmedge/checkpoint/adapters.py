"""LoRA adapter directories (PEFT): found with their base model, and merged by plain arithmetic.

Of a target module's weight W the adapter keeps two thin matrices: the model that was trained has
W + scale * B A, with scale = lora_alpha / r, or lora_alpha / sqrt(r) where use_rslora is set
(arXiv:2106.09685 section 4.1, arXiv:2312.03732). PEFT's own library is not needed.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mmedge.checkpoint.header import safetensors_header
from mmedge.checkpoint.record import AppliedWeights, listing
from mmedge.errors import CheckpointError
from mmedge.optional import require

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
WRAPPER = "base_model.model."
# PEFT's own wrappers around a module.
_WRAPPED = re.compile(r"\.(?:base_layer|modules_to_save)\.")
# Ends of a factor's name: ".lora_A.weight", and ".lora_embedding_A" of an embedding.
_FACTOR = re.compile(r"(.+)\.lora_(?:embedding_)?([AB])(?:\.weight)?")
# What changes the arithmetic beyond W + scale * B A.
_OTHER_ARITHMETIC = (
    "use_dora", "lora_bias", "use_qalora", "use_bdlora", "alora_invocation_tokens", "arrow_config",
    "kasa_config", "monteclora_config", "layer_replication", "target_parameters",
    "trainable_token_indices",
)  # fmt: skip
# Modules that keep their weight as [in, out]: B A is the other way round.
_TRANSPOSED = ("Embedding", "Conv1D")
MERGE = (
    "merge it where PEFT is installed, and give mmedge the result:\n"
    "PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(DIRECTORY)"
)


def is_adapter(directory: Path) -> bool:
    """Whether the directory is what PEFT's save_pretrained writes."""
    return (directory / CONFIG).is_file()


def adapter_files(directory: Path) -> tuple[Path, Path]:
    """Its two files; CheckpointError where the weights are not there as safetensors."""
    if not (directory / WEIGHTS).is_file():
        others = sorted(path.name for path in directory.glob("adapter_model*"))
        raise CheckpointError(
            "the adapter has no safetensors weights",
            found=", ".join(others) or "no weights",
            expected=WEIGHTS,
            where=directory,
            hint="PeftModel.save_pretrained(directory) writes them",
        )
    return directory / CONFIG, directory / WEIGHTS


def base_directory(directory: Path) -> Path:
    """The directory of the model that the adapter changes; CheckpointError where it is not here."""
    named = str(_read(directory).get("base_model_name_or_path") or "")
    base = Path(named) if Path(named).is_absolute() else directory / named
    if named and (base / "config.json").is_file() and not is_adapter(base):
        return base.resolve()
    raise CheckpointError(
        "the directory is an adapter, and its base model is not on this machine",
        found=f"base_model_name_or_path: {named!r}",
        expected="a model directory, absolute or as seen from the adapter's directory",
        where=directory / CONFIG,
        hint=f"write the directory of the base model into {CONFIG}, or {MERGE}",
    )


def merge_adapter(
    model: torch.nn.Module, record: AppliedWeights, directory: Path
) -> tuple[torch.nn.Module, AppliedWeights]:
    """The base model with the adapter in its weights, and the record with a note on it.

    Raises CheckpointError where the adapter is of another kind, or not of this model.
    """
    config, (_, file) = _read(directory), adapter_files(directory)
    _check_kind(config, directory)
    safetensors_header(file)
    factors, replaced = _sorted_out(require("safetensors.torch").load_file(file), directory)
    # An embedding's own weights are stored beside its factors: first they, then the change.
    for name, tensor in replaced.items():
        _replace(model, name, tensor, directory)
    for path, pair in factors.items():
        _add(_module(model, path, directory), pair, _scale(config, path, pair), path, directory)
    note = f"a LoRA adapter of {len(factors)} modules was merged into its base model"
    more = (f"the adapter's own weights: {listing(sorted(replaced))}",) if replaced else ()
    return model, replace(record, notes=(*record.notes, note, *more))


def _read(directory: Path) -> dict[str, Any]:
    try:
        config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("not a JSON object")
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{CONFIG} cannot be read", found=error, where=directory) from error
    return config


def _check_kind(config: dict[str, Any], directory: Path) -> None:
    kind = config.get("peft_type")
    others = [key for key in _OTHER_ARITHMETIC if config.get(key)]
    if kind != "LORA" or others:
        raise CheckpointError(
            "mmedge does not merge this kind of adapter",
            found=f"{kind} {' '.join(others)}".strip(),
            expected="plain LORA",
            where=directory / CONFIG,
            hint=MERGE,
        )


def adapter_factors(tensors: Mapping[str, T]) -> dict[str, dict[str, T]]:
    """Module path -> what the adapter has of its factors "A" and "B"."""
    factors: defaultdict[str, dict[str, T]] = defaultdict(dict)
    for name, value in tensors.items():
        if match := _FACTOR.fullmatch(_plain(name)):
            factors[match[1]][match[2]] = value
    return dict(factors)


def _plain(name: str) -> str:
    """The name that the base model has for it."""
    return _WRAPPED.sub(".", name.removeprefix(WRAPPER))


def _sorted_out(
    tensors: dict[str, torch.Tensor], directory: Path
) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    """Module path -> its factors A and B; and name -> the weights that are replaced whole."""
    factors = adapter_factors(tensors)
    plain = {_plain(name): tensor for name, tensor in tensors.items()}
    replaced = {name: tensor for name, tensor in plain.items() if not _FACTOR.fullmatch(name)}
    alone = sorted(path for path, pair in factors.items() if set(pair) != {"A", "B"})
    if alone or not factors:
        raise CheckpointError(
            "the adapter's factors do not come in pairs",
            found=listing(alone) or "no factor at all",
            expected="lora_A and lora_B of every module",
            where=directory / WEIGHTS,
            hint="copy the adapter again",
        )
    return factors, replaced


def _module(model: torch.nn.Module, path: str, directory: Path) -> torch.nn.Module:
    try:
        module = model.get_submodule(path)
    except AttributeError as error:
        raise _not_of_this_model(f"module {path!r}", directory) from error
    if not isinstance(getattr(module, "weight", None), require("torch").Tensor):
        raise _not_of_this_model(f"{path!r}, a {type(module).__name__} without weight", directory)
    return module


def _add(
    module: torch.nn.Module,
    pair: dict[str, torch.Tensor],
    scale: float,
    path: str,
    directory: Path,
) -> None:
    weight = module.weight
    assert isinstance(weight, require("torch").Tensor)
    change = (pair["B"].float().flatten(1) @ pair["A"].float().flatten(1)) * scale
    if type(module).__name__ in _TRANSPOSED:
        change = change.T
    if change.shape != weight.flatten(1).shape:
        found = f"module {path!r}: a change of {list(change.shape)} to {list(weight.shape)}"
        raise _not_of_this_model(found, directory)
    # A new tensor: the old one is a page of the checkpoint's file.
    weight.data = weight.data + change.reshape(weight.shape)


def _scale(config: dict[str, Any], path: str, pair: dict[str, torch.Tensor]) -> float:
    rank = pair["A"].shape[0]
    alpha = float(_by_pattern(config.get("alpha_pattern"), path, config.get("lora_alpha", 8)))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _by_pattern(patterns: dict[str, Any] | None, path: str, default: Any) -> Any:
    """The value of the pattern that is the end of the module's path, as PEFT matches it."""
    for pattern, value in (patterns or {}).items():
        if re.fullmatch(rf"(?:.*\.)?(?:{pattern})", path):
            return value
    return default


def _replace(model: torch.nn.Module, name: str, tensor: torch.Tensor, directory: Path) -> None:
    own = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers())
    if name not in own or own[name].shape != tensor.shape:
        raise _not_of_this_model(f"weight {name!r} {list(tensor.shape)}", directory)
    own[name].data = tensor.to(own[name].dtype)


def _not_of_this_model(what: str, directory: Path) -> CheckpointError:
    return CheckpointError(
        "the adapter does not fit its base model",
        found=what,
        expected="modules and shapes of the base model",
        where=directory / WEIGHTS,
        hint=f"check base_model_name_or_path in {CONFIG}, or {MERGE}",
    )
