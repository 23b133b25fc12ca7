"""The engines, wired as the bundle will run them, against the user's forward on every sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mmedge.free_memory import give_back_pages
from mmedge.recipes import Split
from mmedge.runtime.next_token import COMPARED
from mmedge.stage import Samples
from mmedge.tensors import Array
from mmedge.verify.batches import batches
from mmedge.verify.metrics import Difference, DifferencesByOutput
from mmedge.verify.outputs import check_same_outputs, same_length
from mmedge.verify.sides import Opened, Outputs, run_reference
from mmedge.wiring import Wiring


@dataclass(frozen=True)
class EndToEnd:
    """What model and engine made of all samples.

    differences: by output, over all batches.
    wanted, found: outputs of the model and of the engine, one entry for each batch.
    examples: numbers of the samples, in the order of the outputs' rows.
    inputs: makes the batches again, one by one.
    """

    differences: dict[str, Difference]
    wanted: list[Outputs]
    found: list[Outputs]
    examples: list[int]
    inputs: Callable[[], Iterator[dict[str, Array]]] = lambda: iter(())


def compare_end_to_end(
    split: Split, opened: Opened, samples: Samples, *, without: frozenset[str] = frozenset()
) -> EndToEnd:
    """The engines against the model on every sample. Raises VerificationError for other outputs.

    The model has done all its work before the engines begin: their weights are not needed at once.
    without: optional inputs to leave away.
    """

    def fed() -> Iterator[dict[str, Array]]:
        for batch, _ in batches(samples, opened.wiring):
            yield _without(opened.wiring, batch, without)

    wanted = [run_reference(split, batch) for batch in fed()]
    give_back_pages()
    found: list[Outputs] = []
    differences = DifferencesByOutput()
    for batch, references in zip(fed(), wanted, strict=True):
        found.append(opened.run(batch, options=COMPARED))
        check_same_outputs(references, found[-1])
        for name, reference in references.items():
            differences.add(name, *same_length(reference, found[-1][name]))
    examples = [number for _, numbers in batches(samples, opened.wiring) for number in numbers]
    return EndToEnd(differences.result(), wanted, found, examples, fed)


def _without(wiring: Wiring, batch: dict[str, Array], absent: frozenset[str]) -> dict[str, Array]:
    """The batch without some inputs, and without what indicates them."""
    indicators = {item.spec.name for item in wiring.inputs if item.indicates in absent}
    return {name: array for name, array in batch.items() if name not in absent | indicators}
