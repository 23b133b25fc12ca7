"""The engines, wired as the bundle will run them, against the user's forward on every sample."""

from __future__ import annotations

from dataclasses import dataclass

from mmedge.recipes import Split
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
    """

    differences: dict[str, Difference]
    wanted: list[Outputs]
    found: list[Outputs]
    examples: list[int]


def compare_end_to_end(
    split: Split, opened: Opened, samples: Samples, *, without: frozenset[str] = frozenset()
) -> EndToEnd:
    """The engines against the model on every sample. Raises VerificationError for other outputs.

    without: optional inputs to leave away.
    """
    wanted: list[Outputs] = []
    found: list[Outputs] = []
    examples: list[int] = []
    differences = DifferencesByOutput()
    for batch, numbers in batches(samples, opened.wiring):
        present = _without(opened.wiring, batch, without)
        wanted.append(run_reference(split, present))
        found.append(opened.run(present))
        examples += numbers
        check_same_outputs(wanted[-1], found[-1])
        for name, reference in wanted[-1].items():
            differences.add(name, *same_length(reference, found[-1][name]))
    return EndToEnd(differences.result(), wanted, found, examples)


def _without(wiring: Wiring, batch: dict[str, Array], absent: frozenset[str]) -> dict[str, Array]:
    """The batch without some inputs, and without what indicates them."""
    indicators = {item.spec.name for item in wiring.inputs if item.indicates in absent}
    return {name: array for name, array in batch.items() if name not in absent | indicators}
