"""From the words of `mmedge run` to the inputs of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmedge.errors import InputError
    from mmedge.runtime import Bundle


def parse_inputs(
    named: tuple[str, ...], by_modality: Mapping[str, tuple[str, ...]], bundle: Bundle
) -> dict[str, Any]:
    """The inputs by name, of `-i NAME=VALUE` and of `--image VALUE` and the like.

    One value is one example, several are a batch. Raises InputError for what is no such word,
    for an input that is given twice, and where it is not clear which one a modality means.
    """
    from mmedge.errors import InputError

    values = [_parse(item, bundle) for item in named]
    for modality, words in by_modality.items():
        if words:
            parsed = [_value(word) for word in words]
            values.append((_named(modality, bundle), parsed[0] if len(parsed) == 1 else parsed))
    inputs: dict[str, Any] = {}
    for name, value in values:
        if name in inputs:
            raise InputError(f"input {name!r} is given twice", hint="once for each input")
        inputs[name] = value
    return inputs


def _parse(item: str, bundle: Bundle) -> tuple[str, Any]:
    from mmedge.errors import InputError

    name, equals, value = item.partition("=")
    if not equals:
        known = ", ".join(bundle.raw_inputs.names)
        raise InputError(f"{item!r} is not NAME=VALUE", expected=f"one of {known}")
    return name, _value(value)


def _value(word: str) -> Any:
    """A .npy file is an array, every other word is left to preprocessing."""
    import numpy as np

    from mmedge.errors import InputError

    if not word.endswith(".npy"):
        return word
    try:
        # Not np.load: that takes archives and, where it may, pickles.
        with Path(word).open("rb") as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{word} is not a numpy array file", found=error) from error


def _named(modality: str, bundle: Bundle) -> str:
    """The input called `modality`, else the only one that takes raw values of it."""
    from mmedge.errors import InputError

    names = bundle.raw_inputs.names
    if modality in names:
        return modality
    fitting = bundle.raw_inputs.of_modality(modality)
    if not fitting:
        raise _not_taken(modality, bundle)
    if len(fitting) > 1:
        raise InputError(
            f"it is not clear which input --{modality} is",
            found=f"that could be {' or '.join(fitting)}",
            expected=f"one of {', '.join(names)}",
            hint="name it: -i NAME=VALUE",
        )
    return fitting[0]


def _not_taken(modality: str, bundle: Bundle) -> InputError:
    """No input of the model is of that modality, or nothing in the bundle makes its tensors."""
    from mmedge.errors import InputError

    tensors = [i.spec.name for i in bundle.wiring.inputs if i.modality == modality]
    named = ", ".join(bundle.raw_inputs.names)
    if not tensors:
        return InputError(f"the model takes no {modality}", expected=f"one of {named}")
    return InputError(
        f"nothing in the bundle makes tensors of {modality}",
        expected=f"one of {named}",
        hint=" ".join(f"-i {name}=FILE.npy" for name in tensors),
    )
