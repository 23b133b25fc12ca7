"""How sure the model itself is of its tokens: its scores, step by step, on its own answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mmedge.recipes import Split
from mmedge.runtime.execute import execute
from mmedge.runtime.next_token import COMPARED
from mmedge.tensors import Array
from mmedge.verify.sides import as_declared, to_torch
from mmedge.wiring import Wiring

# What stands where an answer has ended, or no rival was named: no distance is shorter.
FAR = np.float32(np.inf)


@dataclass(frozen=True)
class Scores:
    """The model's answer to one batch; all arrays are [batch, tokens].

    margins: how far the second best token is behind the best.
    gaps: how far the rival is behind the best. Both are relative to the largest score.
    """

    tokens: Array
    margins: Array
    gaps: Array


def model_scores(
    split: Split, wiring: Wiring, inputs: Mapping[str, Array], *, rivals: Array | None = None
) -> Scores:
    """The components in torch, run by the loop that runs the engines.

    inputs: a batch. rivals: int64 [batch, tokens], another answer to it.
    """
    run = _TorchComponents(split, wiring, inputs, rivals)
    outputs = execute(wiring, inputs, run, options=COMPARED)
    assert wiring.generation is not None
    tokens = next(
        outputs[name]
        for name, source in wiring.outputs.items()
        if source == wiring.generation.tokens
    )
    margins = np.stack(run.margins, axis=1)
    return Scores(tokens, margins, np.stack(run.gaps, axis=1))


class _TorchComponents:
    """Runs components, and looks at the scores that the decoder gives each next token."""

    def __init__(
        self, split: Split, wiring: Wiring, inputs: Mapping[str, Array], rivals: Array | None
    ) -> None:
        self._split = split
        self._wiring = wiring
        self._inputs = inputs
        self._rivals = rivals
        self.margins: list[Array] = []
        self.gaps: list[Array] = []

    def __call__(self, name: str, feeds: dict[str, Array]) -> dict[str, Array]:
        """One component's outputs."""
        import torch

        component = self._split.component(name)
        takes = [*component.bindings]
        if self._split.is_decoder(name):
            takes += [spec.name for spec in self._split.decoder_inputs]
        # The model is in float32, whatever goes between its engines.
        wide = {k: v.astype(np.float32) if v.dtype == np.float16 else v for k, v in feeds.items()}
        given = to_torch(wide)
        if not given.keys() >= set(takes):  # its graph has no use for an argument of the module
            values = self._split.run(to_torch(self._inputs))
            given |= {k: values[source] for k, source in component.bindings.items()} | given
        with torch.no_grad():
            made = component.module(*(given[argument] for argument in takes))
        tensors = (made,) if isinstance(made, torch.Tensor) else made
        outputs = {k: t.numpy() for k, t in zip(component.outputs, tensors, strict=True)}
        if self._split.is_decoder(name):
            self._look_at(outputs)
        return as_declared(self._wiring.component(name).outputs, outputs)

    def _look_at(self, outputs: dict[str, Array]) -> None:
        assert self._wiring.generation is not None
        last = outputs[self._wiring.generation.logits_output][:, -1, :].astype(np.float32)
        finite = np.where(np.isfinite(last), last, 0)
        peak = np.maximum(np.abs(finite).max(axis=1), np.finfo(np.float32).tiny)
        second, best = np.partition(last, -2, axis=1)[:, -2:].T
        step = len(self.margins)
        self.margins.append(((best - second) / peak).astype(np.float32))
        gap = np.full(len(last), FAR)
        if self._rivals is not None and step < self._rivals.shape[1]:
            rival = self._rivals[:, step]
            named = (rival >= 0) & (rival < last.shape[1])
            behind = best - np.take_along_axis(last, np.where(named, rival, 0)[:, None], 1)[:, 0]
            gap = np.where(named, behind / peak, FAR)
        self.gaps.append(gap)
