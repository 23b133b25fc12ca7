"""What `generate` really does with a model: recorded once, eagerly, on real samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mmedge.errors import ProjectError
from mmedge.optional import require
from mmedge.quiet_upstream import quiet_transformers


@dataclass
class Recording:
    """One call of `generate`.

    generator: the module whose forward is called once per step: the model, or its language model.
    prompt: ids that generation continued, int64 [batch, length]; length 0 where it got none.
    steps: keyword arguments of the generator's forward, one dict for each step.
    tokens: int64 [batch, new]: what was generated, without the prompt.
    config: the GenerationConfig it went by.
    processors: what was done to the logits, in order.
    """

    generator: nn.Module
    prompt: Tensor
    steps: list[dict[str, Any]] = field(default_factory=list)
    tokens: Tensor = field(default_factory=lambda: torch.zeros(0))
    config: Any = None
    processors: tuple[Any, ...] = ()


def record_generate(
    model: Any,
    inputs: Mapping[str, Any],
    *,
    max_new_tokens: int,
    settings: Mapping[str, Any] = {},
) -> Recording:
    """Greedy generation with `model.generate`, recorded.

    settings: further arguments of `generate` (Whisper's language).
    Raises ProjectError where `generate` does not go through transformers' own loop.
    """
    recordings: list[Recording] = []
    greedy = {"do_sample": False, "num_beams": 1, "max_new_tokens": max_new_tokens}
    # Some models write into the ids they are given (BLIP replaces the first).
    given = {k: v.clone() if isinstance(v, Tensor) else v for k, v in inputs.items()}
    with torch.no_grad(), quiet_transformers(), _recorded(recordings):
        model.generate(**given, **greedy, **settings)
    if not recordings:
        raise ProjectError(
            f"{type(model).__name__}.generate does not use transformers' generation loop",
            expected="GenerationMixin._sample to be called",
        )
    return recordings[-1]


def tokens_of(
    model: Any, *, max_new_tokens: int, settings: Mapping[str, Any] = {}
) -> Callable[[Mapping[str, Any]], dict[str, Tensor]]:
    """The reference of a Split: `generate` itself, its answer without the prompt."""

    def run(inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        recorded = record_generate(model, inputs, max_new_tokens=max_new_tokens, settings=settings)
        return {"tokens": recorded.tokens}

    return run


@contextmanager
def _recorded(into: list[Recording]) -> Iterator[None]:
    mixin = require("transformers.generation").GenerationMixin
    sample = mixin._sample

    def recorded(self: nn.Module, input_ids: Tensor, *args: Any, **kwargs: Any) -> Any:
        recording = Recording(
            self,
            input_ids.clone(),
            config=kwargs.get("generation_config"),
            processors=tuple(kwargs.get("logits_processor") or ()),
        )
        into.append(recording)
        with _steps(self, recording.steps):
            result = sample(self, input_ids, *args, **kwargs)
        sequences = result if isinstance(result, Tensor) else result.sequences
        recording.tokens = sequences[:, input_ids.shape[1] :]
        return result

    mixin._sample = recorded
    try:
        yield
    finally:
        mixin._sample = sample


@contextmanager
def _steps(generator: nn.Module, into: list[dict[str, Any]]) -> Iterator[None]:
    forward = generator.forward

    def recorded(*args: Any, **kwargs: Any) -> Any:
        into.append(dict(kwargs))
        return forward(*args, **kwargs)

    shadowed = generator.__dict__.get("forward")
    generator.__dict__["forward"] = recorded
    try:
        yield
    finally:
        del generator.__dict__["forward"]
        if shadowed is not None:
            generator.__dict__["forward"] = shadowed
