"""Putting trained weights into a model: every one of them, or an error that lists what is wrong."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mmedge.checkpoint.record import (
    LISTED,
    AppliedWeights,
    dtype_name,
    listing,
    summarize_weights,
    tensor_entries,
)
from mmedge.errors import CheckpointError
from mmedge.optional import require

if TYPE_CHECKING:
    import torch


def apply_state_dict(
    model: torch.nn.Module, state: Mapping[str, torch.Tensor], *, where: object
) -> AppliedWeights:
    """Load `state` into `model`, strictly, and return what was loaded.

    A missing name is fine where the model ties it to a present one. Floating-point weights of
    another precision are converted and recorded.

    Raises CheckpointError that lists missing, unexpected and mis-shaped weights, tied weights
    that differ, weights that are not finite, and weights of another kind of dtype.
    """
    own = model.state_dict()
    misshapen = _misshapen(own, state)
    _check_dtypes(own, state, where)
    check_finite(model, state, where=where)
    aliases = _aliases(own)
    _check_tied(aliases, state, where)
    fitting = {name: tensor for name, tensor in state.items() if name not in misshapen}
    outcome = model.load_state_dict(fitting, strict=False)
    missing = [
        name
        for name in outcome.missing_keys
        if name not in misshapen and not any(alias in state for alias in aliases[name])
    ]
    if missing or outcome.unexpected_keys or misshapen:
        raise _mismatch(missing, list(outcome.unexpected_keys), misshapen, where)
    return _record(model, own, state)


def check_finite(
    model: torch.nn.Module, state: Mapping[str, torch.Tensor], *, where: object
) -> None:
    """Raise CheckpointError naming the tensors of `state` with NaN or infinite values.

    A buffer of zeros and -inf is an attention mask, and is fine.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    bad = {
        name: count
        for name, tensor in state.items()
        if (count := _non_finite(tensor, is_buffer=name not in parameters))
    }
    if bad:
        listed = [f"{name}: {count} of {state[name].numel()} values" for name, count in bad.items()]
        raise CheckpointError(
            f"{len(bad)} weights hold NaN or infinite values",
            found=listing(listed),
            expected="finite weights",
            where=where,
            hint="use a checkpoint from before the training diverged",
        )


def _non_finite(tensor: torch.Tensor, *, is_buffer: bool) -> int:
    if not tensor.is_floating_point():
        return 0
    wide = tensor.float() if tensor.element_size() == 1 else tensor
    finite = wide.isfinite()
    if is_buffer and bool(((wide == float("-inf")) | (wide == 0)).all()):
        return 0
    return int((~finite).sum())


def _misshapen(
    own: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]
) -> dict[str, str]:
    is_lazy = require("torch").nn.parameter.is_lazy
    return {
        name: f"{name}: found {list(state[name].shape)}, expected {list(tensor.shape)}"
        for name, tensor in own.items()
        if name in state and not is_lazy(tensor) and state[name].shape != tensor.shape
    }


def _check_dtypes(
    own: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], where: object
) -> None:
    wrong = [
        f"{name}: found {dtype_name(state[name])}, expected {dtype_name(tensor)}"
        for name, tensor in own.items()
        if name in state and not _convertible(state[name], tensor)
    ]
    if wrong:
        raise CheckpointError(
            f"{len(wrong)} weights are of a dtype that does not convert to the model's",
            found=listing(wrong),
            where=where,
            hint="mmedge quantizes by itself: give it the checkpoint in floating point",
        )


def _convertible(stored: torch.Tensor, wanted: torch.Tensor) -> bool:
    if stored.dtype == wanted.dtype:
        return not stored.is_quantized
    both_float = stored.is_floating_point() and wanted.is_floating_point()
    # A float8 value means nothing without the scale that a quantizer kept elsewhere.
    return both_float and stored.element_size() > 1


def _aliases(own: Mapping[str, torch.Tensor]) -> dict[str, set[str]]:
    """Name -> the other names of the same storage (tied weights)."""
    is_lazy = require("torch").nn.parameter.is_lazy
    names: defaultdict[object, set[str]] = defaultdict(set)
    for name, tensor in own.items():
        empty = is_lazy(tensor) or tensor.numel() == 0 or tensor.is_meta
        place = (tensor.data_ptr(), tensor.shape, tensor.stride()) if not empty else name
        names[place].add(name)
    return defaultdict(set, {name: group - {name} for group in names.values() for name in group})


def _check_tied(
    aliases: Mapping[str, set[str]], state: Mapping[str, torch.Tensor], where: object
) -> None:
    equal = require("torch").equal
    differing = [
        f"{name} and {alias}"
        for name, others in aliases.items()
        for alias in sorted(others)
        if name < alias and name in state and alias in state
        if not equal(state[name].to(state[alias].dtype), state[alias])
    ]
    if differing:
        raise CheckpointError(
            "weights that the model ties to one another differ in the checkpoint",
            found=listing(differing),
            where=where,
            hint="build the model untied, as it was trained",
        )


def _mismatch(
    missing: list[str], unexpected: list[str], misshapen: dict[str, str], where: object
) -> CheckpointError:
    kinds = {
        "missing": missing,
        "unexpected": unexpected,
        "mis-shaped": list(misshapen.values()),
    }
    found = [f"{len(names)} {kind}:\n{listing(names)}" for kind, names in kinds.items() if names]
    return CheckpointError(
        "the checkpoint does not fit the model",
        found="\n".join(found),
        expected="exactly the names and shapes of model.state_dict()",
        where=where,
        hint=_name_hint(missing, unexpected) or _fit_hint(not missing and not misshapen, where),
    )


def _fit_hint(fits: bool, where: object) -> str:
    """fits: the checkpoint holds all of the model, and only more. The ways out of that."""
    if not fits:
        return "check [model] factory and arguments"
    name = Path(str(where)).name
    save = "save_file" if name.endswith(".safetensors") else "torch.save"
    return (
        "add them to the model, or save the file again without them (state is its state dict):\n"
        f"{save}({{k: v for k, v in state.items() if k in model.state_dict()}}, {name!r})"
    )


def _name_hint(missing: list[str], unexpected: list[str]) -> str | None:
    """How a missing and an unexpected name are alike: by a prefix, or by spelling."""
    for wanted in missing:
        for name in unexpected:
            if name.endswith(f".{wanted}"):
                prefix = name.removesuffix(wanted)
                return f"the checkpoint's names start with {prefix!r}, the model's do not"
            if wanted.endswith(f".{name}"):
                prefix = wanted.removesuffix(name)
                return f"the model's names start with {prefix!r}, the checkpoint's do not"
    for wanted in missing[:LISTED]:
        close = difflib.get_close_matches(wanted, unexpected[:1000], n=1, cutoff=0.7)
        if close:
            return f"{close[0]!r} in the checkpoint looks like {wanted!r} of the model"
    return None


def _record(
    model: torch.nn.Module,
    own: Mapping[str, torch.Tensor],
    state: Mapping[str, torch.Tensor],
) -> AppliedWeights:
    converted = {
        name: f"{dtype_name(state[name])} -> {dtype_name(tensor)}"
        for name, tensor in own.items()
        if name in state and state[name].dtype != tensor.dtype
    }
    return summarize_weights(model, tensor_entries(state), converted=converted)
