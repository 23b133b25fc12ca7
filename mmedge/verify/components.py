"""Each component against its torch module, and the torch modules together against forward."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mmedge.free_memory import give_back_pages
from mmedge.recipes import Split
from mmedge.stage import Samples
from mmedge.tensors import Array
from mmedge.verify.batches import probes
from mmedge.verify.decoder_steps import decoder_steps
from mmedge.verify.metrics import Difference, DifferencesByOutput
from mmedge.verify.outputs import check_shape, differences
from mmedge.verify.sides import Opened, as_declared, run_reference, to_torch
from mmedge.wiring import Source

if TYPE_CHECKING:
    import torch


def compare_components(
    split: Split, opened: Opened, samples: Samples
) -> dict[str, dict[str, Difference]]:
    """Each engine against its torch module on the same inputs, at several sizes of every axis.

    The modules have done all their work before the engines begin: the weights of both are not
    needed at once. A generating decoder is not among them: see `compare_decoder`.
    """
    expected = []
    for inputs in probes(split, opened.wiring, samples):
        expected.append(split.run(to_torch(inputs)))
        give_back_pages()  # running a module leaves no cycles with tensors in them
    found: defaultdict[str, DifferencesByOutput] = defaultdict(DifferencesByOutput)
    for values in expected:
        _compare_each(split, opened, values, found)
    return {name: made.result() for name, made in found.items()}


def _compare_each(
    split: Split,
    opened: Opened,
    values: Mapping[Source, torch.Tensor],
    found: dict[str, DifferencesByOutput],
) -> None:
    """Add to `found` how far each engine is from its module, of which `values` has every one."""
    for component in opened.wiring.components:
        if split.is_decoder(component.name):
            continue
        feeds = {name: values[source].numpy() for name, source in component.bindings.items()}
        produced = opened.run_component(component.name, as_declared(component.inputs, feeds))
        for name, array in produced.items():
            reference = values[f"{component.name}.{name}"].numpy()
            check_shape(f"{component.name}.{name}", reference, array)
            found[component.name].add(name, reference, array)


def compare_decoder(
    split: Split, opened: Opened, inputs: Mapping[str, Array]
) -> dict[str, Difference]:
    """A generating decoder against its torch module: a prompt, one token, several after a past."""
    import torch

    assert split.generation is not None
    module = split.component(split.generation.decoder)
    values = split.run(to_torch(inputs))
    bound = {name: values[source] for name, source in module.bindings.items()}
    needed = {tensor.name for tensor in opened.wiring.component(module.name).inputs}
    compared = []
    for step in decoder_steps(split):
        given = bound | step
        with torch.no_grad():
            compared.append((given, module.module(*given.values())))
    give_back_pages()
    found = DifferencesByOutput()
    for given, wanted in compared:
        feeds = {name: tensor.numpy() for name, tensor in given.items() if name in needed}
        declared = opened.wiring.component(module.name).inputs
        produced = opened.run_component(module.name, as_declared(declared, feeds))
        for name, tensor in zip(module.outputs, wanted, strict=True):
            check_shape(f"{module.name}.{name}", tensor.numpy(), produced[name])
            found.add(name, tensor.numpy(), produced[name])
    return found.result()


def split_difference(split: Split, inputs: Mapping[str, Array]) -> dict[str, Difference]:
    """The components run one after the other in torch, against the user's own forward."""
    values = split.run(to_torch(inputs))
    ours = {name: values[source].numpy() for name, source in split.outputs.items()}
    return differences(run_reference(split, inputs), ours)
