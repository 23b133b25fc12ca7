"""Reading trained weights from a file, without running code that the file may contain."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmedge.checkpoint.formats import ACCEPTED, Format, detect, find_index, wanted_objects
from mmedge.checkpoint.header import safetensors_header, shard_files, shard_index
from mmedge.errors import CheckpointError, UntrustedPickleError
from mmedge.optional import require

if TYPE_CHECKING:
    import torch

# Where training scripts put the state_dict beside optimizer and epoch.
NESTED_KEYS = ("state_dict", "model_state_dict", "model")
DATA_PARALLEL = "module."
COMPILED = "_orig_mod"


@dataclass(frozen=True)
class Weights:
    """Tensors by name, and what had to be decided to get them (for the report).

    module: the pickled model itself, where the file held one and its pickle was trusted.
    """

    tensors: dict[str, torch.Tensor]
    notes: tuple[str, ...] = ()
    module: torch.nn.Module | None = None


def read_state_dict(path: Path, *, trust_pickle: bool = False) -> dict[str, torch.Tensor]:
    """The weights at `path` by name, on the CPU; see `read_weights`."""
    return read_weights(path, trust_pickle=trust_pickle).tensors


def read_weights(path: Path, *, trust_pickle: bool = False, names: Collection[str] = ()) -> Weights:
    """Read a safetensors checkpoint (one file or shards) or a torch.save file.

    trust_pickle: run the code in a pickled model; without it, only tensors are ever unpickled.
    names: the weights of the model they are for; a wrapper's prefix that these have stays.

    Raises UntrustedPickleError where the file needs code to be run, CheckpointError where it is
    damaged, incomplete or of another format.
    """
    format = detect(path)
    if format is Format.SAFETENSORS:
        return _unwrapped(_read_safetensors(path), names)
    if format is Format.SHARDED_SAFETENSORS:
        return _unwrapped(_read_shards(path), names)
    if format in {Format.EXPORTED_PROGRAM, Format.HUGGING_FACE, Format.ADAPTER}:
        raise CheckpointError(
            f"the checkpoint is a {format.value}, not a file of weights",
            where=path,
            hint="leave out [model] factory: this format brings its own model",
        )
    return _find_weights(path, _torch_load(path, trust_pickle=trust_pickle), names)


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    safetensors_header(path)
    try:
        tensors: dict[str, torch.Tensor] = require("safetensors.torch").load_file(path)
        return tensors
    except (RuntimeError, ValueError, OSError, _safetensors_error()) as error:
        raise _damaged(path, error) from error


def _read_shards(path: Path) -> dict[str, torch.Tensor]:
    index = find_index(path)
    assert index is not None
    tensors: dict[str, torch.Tensor] = {}
    for file in shard_files(index):
        tensors |= _read_safetensors(file)
    absent = sorted(set(shard_index(index)) - set(tensors))
    if absent:
        raise CheckpointError(
            f"{len(absent)} tensors that the index promises are in no shard",
            found=", ".join(absent[:20]),
            where=index,
        )
    return tensors


def _torch_load(path: Path, *, trust_pickle: bool) -> Any:
    torch = require("torch")
    from pickle import UnpicklingError

    try:
        return torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    except UnpicklingError as error:
        if trust_pickle:
            raise _damaged(path, error) from error
        raise _untrusted(path, error) from None
    except (ModuleNotFoundError, AttributeError) as error:
        raise CheckpointError(
            "the pickled objects need code that cannot be imported",
            found=error,
            where=path,
            hint="run where that code is importable, or save model.state_dict() instead",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise _damaged(path, error) from error


def _find_weights(path: Path, loaded: Any, names: Collection[str]) -> Weights:
    torch = require("torch")
    if isinstance(loaded, torch.nn.Module):
        return Weights(dict(loaded.state_dict()), ("the weights are of a pickled model",), loaded)
    nested, notes = _nested(path, loaded)
    if isinstance(nested, torch.nn.Module):
        return Weights(dict(nested.state_dict()), (*notes, "they are of a pickled model"), nested)
    others = [
        f"{name}: {type(value).__name__}"
        for name, value in nested.items()
        if not isinstance(value, torch.Tensor) or not isinstance(name, str)
    ]
    if others or not nested:
        raise CheckpointError(
            "the file does not hold a state_dict",
            found=", ".join(others[:20]) or "an empty dict",
            expected=f"tensors by name, at the top or under one of {', '.join(NESTED_KEYS)}",
            where=path,
        )
    weights = _unwrapped(dict(nested), names)
    return Weights(weights.tensors, notes + weights.notes)


def _nested(path: Path, loaded: Any) -> tuple[Any, tuple[str, ...]]:
    """The state_dict in what torch.load returned, and a note on where it was."""
    torch = require("torch")
    if not isinstance(loaded, Mapping):
        raise CheckpointError(
            f"the file holds a {type(loaded).__name__}", expected="a state_dict", where=path
        )
    keys = [k for k in NESTED_KEYS if isinstance(loaded.get(k), (Mapping, torch.nn.Module))]
    if not keys:
        return loaded, ()
    if len(keys) > 1:
        raise CheckpointError(
            "the file holds more than one set of weights",
            found=", ".join(keys),
            where=path,
            hint=f'torch.save(torch.load(path)["{keys[0]}"], "weights.pt") keeps one',
        )
    beside = [str(key) for key in loaded if key != keys[0]]
    unused = f"; left unused beside it: {', '.join(beside[:10])}" if beside else ""
    return loaded[keys[0]], (f"the weights are under {keys[0]!r}{unused}",)


def _unwrapped(tensors: dict[str, torch.Tensor], names: Collection[str]) -> Weights:
    """Names without what DataParallel and torch.compile put into them."""
    notes: list[str] = []
    renamed = {name: name for name in tensors}
    if not any(COMPILED in name.split(".") for name in names):
        renamed = {
            name: ".".join(part for part in new.split(".") if part != COMPILED)
            for name, new in renamed.items()
        }
        if any(name != new for name, new in renamed.items()):
            notes.append(f"{COMPILED!r} of torch.compile was removed from the names")
    wrapped = bool(renamed) and all(new.startswith(DATA_PARALLEL) for new in renamed.values())
    if wrapped and not any(name.startswith(DATA_PARALLEL) for name in names):
        renamed = {name: new.removeprefix(DATA_PARALLEL) for name, new in renamed.items()}
        notes.append(f"the prefix {DATA_PARALLEL!r} of DataParallel was removed from the names")
    unwrapped = {renamed[name]: tensor for name, tensor in tensors.items()}
    if len(unwrapped) != len(tensors):
        raise CheckpointError(
            "two weights have the same name once the wrappers' prefixes are removed",
            expected=f"names with {COMPILED!r} or without it, not both",
        )
    return Weights(unwrapped, tuple(notes))


def _untrusted(path: Path, error: Exception) -> UntrustedPickleError:
    wanted = wanted_objects(path)
    return UntrustedPickleError(
        "loading the checkpoint would execute code that the file contains",
        found=f"it asks for {', '.join(wanted[:10])}" if wanted else str(error).splitlines()[-1],
        expected=ACCEPTED,
        where=path,
        hint="where the model was trained, save its weights alone:\n"
        "from safetensors.torch import save_model\n"
        'save_model(model, "weights.safetensors")\n'
        "or, if the file is your own: --trust-pickle",
    )


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        "the checkpoint is truncated or damaged",
        found=f"{path.stat().st_size} bytes; {type(error).__name__}: {str(error)[:300]}",
        where=path,
        hint="copy or download the file again, and compare its size or checksum",
    )


def _safetensors_error() -> type[Exception]:
    error: type[Exception] = require("safetensors").SafetensorError
    return error
