"""What `mmedge run` does with a bundle that generates: the text as it comes, or tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mmedge.runtime import Bundle
    from mmedge.tensors import Array


def answer(
    bundle: Bundle, inputs: dict[str, Any], settings: dict[str, Any], *, stream: bool
) -> tuple[Array, str | None]:
    """The tokens, and what is left to be printed of them besides JSON.

    stream: print the text of a lone sequence as it comes.
    """
    tensors = bundle.preprocess(inputs)
    bundle.raw_inputs.check_complete(inputs)
    options = _options(settings)
    if stream and bundle.has_tokenizer and _is_one(tensors):
        return bundle.generate_tokens(tensors, options, on_text=_show), ""
    tokens = bundle.generate_tokens(tensors, options)
    if bundle.has_tokenizer:
        return tokens, "\n".join(bundle.decode(tokens))
    return tokens, "\n".join(" ".join(map(str, row)) for row in tokens.tolist())


def as_facts(bundle: Bundle, tokens: Array) -> dict[str, Any]:
    """The answer as JSON has it; the text is null where the bundle has no tokenizer."""
    text = bundle.decode(tokens) if bundle.has_tokenizer else None
    return {"tokens": tokens.tolist(), "text": text}


def check_generates(bundle: Bundle, settings: dict[str, Any]) -> None:
    """Raise InputError where something is asked of generation, and the model does not generate."""
    from mmedge.errors import InputError

    asked = sorted(name for name, value in settings.items() if value is not None)
    if asked:
        raise InputError(
            "the model generates no tokens",
            found=", ".join(f"--{name.replace('_', '-')}" for name in asked),
            expected=f"no such option: its outputs are {', '.join(bundle.wiring.outputs)}",
        )


def _show(pieces: list[str]) -> None:
    click.echo(pieces[0], nl=False)


def _is_one(tensors: dict[str, Array]) -> bool:
    return all(len(tensor) == 1 for tensor in tensors.values() if tensor.ndim)


def _options(settings: dict[str, Any]) -> Any:
    from mmedge.runtime.next_token import GenerateOptions
    from mmedge.runtime.sampling import Sampling

    given = {name: value for name, value in settings.items() if value is not None}
    limit, stops = given.pop("max_new_tokens", None), given.pop("stop_token", ())
    return GenerateOptions(
        max_new_tokens=limit,
        sampling=Sampling(**given) if given else None,
        stop_token_ids=tuple(stops),
    )
