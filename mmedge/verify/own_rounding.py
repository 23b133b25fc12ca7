"""How far the model's own float32 is from float64: no engine can be expected to be closer.

A model may amplify rounding (detectors that sample where they predict, deep random weights): two
correct float32 programs then differ by more than any fixed tolerance. Before such a difference
counts as a fault, the model itself is run in float64, and the engine may be as far from the
model's float32 as a few times its float32 is from its float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from mmedge.recipes import ComponentModule, Split
from mmedge.verify.metrics import DifferenceAccumulator

if TYPE_CHECKING:
    import torch

Tensors = Mapping[str, "torch.Tensor"]
# Engine and model round in their own order at every layer, over more inputs than are run here:
# three times the error of one batch was seen on a detector, at other sizes of its inputs.
ROOM = 8.0
# Of a model whose float32 is noise, nothing could be told: any engine would be as good.
LARGEST = 0.1


class OwnRounding:
    """The relative difference between float32 and float64 of a model's values, found when asked.

    inputs: a batch of the model's inputs. used: what was asked for -> how far it may be.
    """

    def __init__(self, model: torch.nn.Module, split: Split, inputs: Tensors) -> None:
        self._model = model
        self._split = split
        self._inputs = inputs
        self.used: dict[str, float] = {}

    def allowed(self, component: str, output: str) -> float:
        """How far an output of a component may be from the model's; 0 where it is not known."""
        return self._room(f"{component}.{output}", self._components)

    def allowed_output(self, output: str) -> float:
        """The same of an output of the whole model."""
        return self._room(output, self._outputs)

    def _room(self, name: str, found: Mapping[str, float]) -> float:
        self.used[name] = min(ROOM * found.get(name, 0.0), LARGEST)
        return self.used[name]

    @cached_property
    def _components(self) -> dict[str, float]:
        return self._compared(self._run_components)

    @cached_property
    def _outputs(self) -> dict[str, float]:
        return {} if self._split.generation else self._compared(self._split.reference)

    def _compared(self, run: Callable[[Tensors], Tensors]) -> dict[str, float]:
        single = run(self._inputs)
        try:
            with _in_float64(self._model):
                double = run(_doubled(self._inputs))
        except Exception:  # forward itself asks for float32 somewhere: then nothing is known
            return {}
        return {name: _relative(double[name], tensor) for name, tensor in single.items()}

    def _run_components(self, inputs: Tensors) -> dict[str, torch.Tensor]:
        values = self._split.run(inputs)
        generation = self._split.generation
        if generation is not None:
            decoder = self._split.component(generation.decoder)
            values |= self._run_decoder(decoder, values)
        return {source: tensor for source, tensor in values.items() if "." in source}

    def _run_decoder(self, decoder: ComponentModule, values: Tensors) -> dict[str, torch.Tensor]:
        import torch

        bound = {name: values[source] for name, source in decoder.bindings.items()}
        feeds = bound | self._split.decoder_examples
        if any(tensor.dtype == torch.float64 for tensor in values.values()):
            feeds = _doubled(feeds)
        with torch.no_grad():
            produced = decoder.module(*feeds.values())
        named = zip(decoder.outputs, produced, strict=True)
        return {f"{decoder.name}.{name}": tensor for name, tensor in named}


@contextmanager
def _in_float64(model: torch.nn.Module) -> Iterator[None]:
    """While active the model computes in float64; its weights come back bit for bit."""
    import torch

    before = torch.get_default_dtype()
    dtypes = {name: tensor.dtype for name, tensor in _tensors(model)}
    torch.set_default_dtype(torch.float64)
    try:
        model.double()
        yield
    finally:
        # Each as it was: a buffer may have been in float64, a weight in half precision.
        for name, tensor in _tensors(model):
            tensor.data = tensor.data.to(dtypes[name])
        torch.set_default_dtype(before)


def _tensors(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Every parameter and buffer; a buffer that two modules share is doubled in each."""
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _doubled(tensors: Tensors) -> dict[str, torch.Tensor]:
    return {n: t.double() if t.is_floating_point() else t for n, t in tensors.items()}


def _relative(double: torch.Tensor, single: torch.Tensor) -> float:
    """Largest difference over the largest value; 0, no room, where it can't be told."""
    if double.shape != single.shape or not double.is_floating_point():
        return 0.0
    accumulator = DifferenceAccumulator()
    accumulator.add(double.detach().numpy(), single.detach().numpy())
    return accumulator.result().relative
