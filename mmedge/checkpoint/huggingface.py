"""Loading a Hugging Face directory with the class its config names, offline."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmedge.checkpoint.apply import check_finite
from mmedge.checkpoint.formats import find_index
from mmedge.checkpoint.header import TensorEntry, check_index, safetensors_header, shard_files
from mmedge.checkpoint.model_class import model_class, runs_code
from mmedge.checkpoint.quantized import check_quantization
from mmedge.checkpoint.record import AppliedWeights, dtype_name, listing, summarize_weights
from mmedge.checkpoint.working_copy import COMPUTED, needs_widening, working_copy
from mmedge.errors import CheckpointError
from mmedge.optional import require

if TYPE_CHECKING:
    import torch

SINGLE_FILE = "model.safetensors"
OTHER_WEIGHTS = {".bin", ".pt", ".pth", ".h5", ".msgpack", ".gguf", ".safetensors"}
CONFIG_AGAIN = (
    "copy it again from where the checkpoint came from; model.save_pretrained(directory) writes it"
)
FLOATS = ("bfloat16", "float16", "float32", "float64")


def read_config(directory: Path) -> dict[str, Any]:
    """config.json as a dict; CheckpointError where it is not a JSON object."""
    path = directory / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise CheckpointError(
            "config.json cannot be read", found=error, where=path, hint=CONFIG_AGAIN
        ) from error
    if not isinstance(config, dict):
        raise CheckpointError("config.json is not a JSON object", where=path, hint=CONFIG_AGAIN)
    return config


def checked_config(directory: Path) -> dict[str, Any]:
    """config.json of a model that mmedge loads; CheckpointError says why it does not."""
    config = read_config(directory)
    check_quantization(config, directory / "config.json")
    return config


def weight_files(directory: Path) -> tuple[Path, ...]:
    """The safetensors files of the directory; CheckpointError where any is missing."""
    index = find_index(directory)
    if index is not None:
        check_index(index)
        return shard_files(index)
    if (directory / SINGLE_FILE).is_file():
        return (directory / SINGLE_FILE,)
    raise _no_weights(directory)


def _no_weights(directory: Path) -> CheckpointError:
    others = sorted(p.name for p in directory.glob("*") if p.suffix in OTHER_WEIGHTS)
    kinds = {Path(name).suffix for name in others}
    hint = "model.save_pretrained(directory) writes them"
    if ".bin" in kinds:
        hint = (
            "pickled weights may hold code; where you trust the file, convert it once:\n"
            "MODEL_CLASS.from_pretrained(directory).save_pretrained(NEW_DIRECTORY)"
        )
    elif ".gguf" in kinds:
        hint = "GGUF is quantized for llama.cpp: give mmedge the checkpoint that it was made from"
    elif ".safetensors" in kinds:
        hint = f"name the single file {SINGLE_FILE}, or add the index of the shards"
    return CheckpointError(
        "the directory has config.json and no safetensors weights",
        found=", ".join(others) or "no weights",
        expected=f"{SINGLE_FILE}, or shards with {SINGLE_FILE}.index.json",
        where=directory,
        hint=hint,
    )


def load_pretrained(
    directory: Path, *, scratch: Path | None = None, trust_remote_code: bool = False
) -> tuple[torch.nn.Module, AppliedWeights]:
    """The model of a Hugging Face directory in float32, and what was loaded into it.

    scratch: where weights of another precision are written in float32, to be mapped from there.
    trust_remote_code: run the Python files of the directory where transformers has no class.

    Nothing is downloaded, and a weight that is missing, mis-shaped or not finite is a
    CheckpointError: transformers would initialise it at random.
    """
    config = checked_config(directory)
    files = weight_files(directory)
    stored = [entry for file in files for entry in safetensors_header(file)]
    _check_stored(stored, directory)
    with _offline(), _quiet(), ExitStack() as stack:
        source = directory
        if needs_widening(entry.dtype for entry in stored):
            place = scratch or Path(tempfile.gettempdir())
            source = stack.enter_context(working_copy(directory, files, place))
        model, info, notes = _from_pretrained(config, directory, source, trust_remote_code)
    _check_loaded(info, directory)
    check_finite(model, model.state_dict(), where=directory)
    return model, _record(model, stored, info, notes)


def _check_stored(stored: list[TensorEntry], directory: Path) -> None:
    """A float8 value means nothing without its scale."""
    bare = [str(entry) for entry in stored if entry.dtype.startswith("float8")]
    if bare:
        raise CheckpointError(
            "the checkpoint is quantized, and config.json does not say how",
            found=f"{len(bare)} tensors in float8:\n{listing(bare)}",
            expected="weights in floating point",
            where=directory,
            hint="give mmedge the checkpoint that it was made from: it quantizes by itself",
        )


def _from_pretrained(
    config: dict[str, Any], directory: Path, source: Path, trust_remote_code: bool
) -> tuple[Any, dict[str, Any], tuple[str, ...]]:
    """The model with the weights in `source`, what transformers says of them, and notes.

    directory: what the user named; `source` is it, or a working copy of its weights.
    """
    torch, transformers = require("torch"), require("transformers")
    try:
        parsed, chosen, foreign = model_class(config, directory, trusted=trust_remote_code)
        model, info = chosen.from_pretrained(
            source,
            config=parsed,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            local_files_only=True,
            trust_remote_code=trust_remote_code,
        )
    except CheckpointError:
        raise
    except Exception as error:  # transformers raises ValueError, OSError, KeyError, RuntimeError
        raise CheckpointError(
            f"transformers {transformers.__version__} cannot load the checkpoint"
            f" as {config['architectures'][0]}",
            found=f"{type(error).__name__}: {str(error)[:500]}",
            where=directory,
            hint="see which version wrote it: transformers_version in config.json",
        ) from error
    return model, info, _code_notes(config, foreign=foreign)


def _code_notes(config: dict[str, Any], *, foreign: bool) -> tuple[str, ...]:
    if foreign:
        return ("the model's class is code of its directory, run because it was trusted",)
    if runs_code(config):
        return ("the directory brings code (auto_map); transformers' own class was used instead",)
    return ()


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
    model: torch.nn.Module,
    stored: list[TensorEntry],
    info: dict[str, Any],
    notes: tuple[str, ...],
) -> AppliedWeights:
    own = model.state_dict()
    stored_dtypes = {entry.name: entry.dtype for entry in stored}
    converted = {
        name: f"{stored_dtypes[name]} -> {dtype_name(tensor)}"
        for name, tensor in own.items()
        if stored_dtypes.get(name, dtype_name(tensor)) != dtype_name(tensor)
    }
    unexpected = sorted(info["unexpected_keys"])
    notes += (f"left out, not part of the model: {listing(unexpected)}",) if unexpected else ()
    floats = Counter(e.dtype for e in stored if e.dtype in FLOATS)
    if set(floats) - {COMPUTED}:
        counts = ", ".join(f"{count} {dtype}" for dtype, count in sorted(floats.items()))
        notes += (f"computed in {COMPUTED}; stored were {counts} tensors",)
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
