"""Golden inputs, which travel in the bundle with the model's own outputs for them.

Written where the model is; compared with on any device, which needs neither model nor torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mmedge.errors import VerificationError
from mmedge.runtime.bundle import Bundle
from mmedge.runtime.next_token import COMPARED
from mmedge.tensors import Array
from mmedge.verify.model_scores import FAR, Scores, model_scores
from mmedge.verify.near_ties import accepted
from mmedge.verify.outputs import check_same_outputs, differences
from mmedge.verify.sides import run_reference
from mmedge.verify.tolerances import problem

if TYPE_CHECKING:
    from mmedge.stage import Workspace
    from mmedge.wiring import Wiring

GOLDEN_EXAMPLES = 4
# What the file calls how sure the model is of its tokens.
MARGIN = "margin"


def write_golden(
    path: Path, workspace: Workspace, wiring: Wiring, *, margins: bool = False
) -> None:
    """A few inputs of the evaluation set and the model's own outputs for them, as .npz.

    margins: also how far, of a generating model, its second best token is behind its best, for
        engines that may choose either where both are nearly as good.
    """
    samples = workspace.evaluation
    count = _examples(wiring, samples.count)
    inputs = samples.first(count)
    outputs = run_reference(workspace.split, inputs)
    arrays = {f"input:{name}": array for name, array in inputs.items()}
    arrays |= {f"output:{name}": array for name, array in outputs.items()}
    generation = wiring.generation
    if margins and generation is not None:
        scores = model_scores(workspace.split, wiring, inputs)
        arrays |= {
            f"{MARGIN}:{name}": _trusted(scores, outputs[name])
            for name, source in wiring.outputs.items()
            if source == generation.tokens
        }
    with path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def _trusted(scores: Scores, tokens: Array) -> Array:
    """The margins, as far as they belong to these tokens: beyond, no other token is accepted."""
    width = min(scores.tokens.shape[1], tokens.shape[1])
    same = np.logical_and.accumulate(scores.tokens[:, :width] == tokens[:, :width], axis=1)
    return np.where(same, scores.margins[:, :width], FAR)


def _examples(wiring: Wiring, available: int) -> int:
    """As many as the axis of examples takes; where there are fewer, some are repeated."""
    first = wiring.inputs[0].spec.shape[0]
    if isinstance(first, int):
        return first
    limits = wiring.axes[first]
    return max(limits.min, min(GOLDEN_EXAMPLES, available, limits.max))


def check_golden(bundle: Bundle) -> dict[str, Any]:
    """Run the golden inputs and compare. Raises VerificationError; returns what was compared."""
    inputs, wanted = bundle.golden()
    produced = bundle.run(inputs, options=COMPARED)
    check_same_outputs(wanted, produced)
    found, margins = differences(wanted, produced), bundle.golden_margins()
    generation = bundle.wiring.generation
    ends = () if generation is None else generation.end_token_ids
    for output, difference in found.items():
        tolerance = bundle.manifest.golden.tolerance[output]
        exact = wanted[output].dtype.kind != "f"
        if output in margins and accepted(
            wanted[output], produced[output], margins[output], tolerance, ends=ends
        ):
            continue
        reason = problem(difference, tolerance, exact=exact)
        if reason:
            raise VerificationError(
                f"output {output!r} is not what the original model gave",
                found=reason,
                expected=f"at most {tolerance:.0e} of the largest value",
                where=bundle.directory,
                hint="`mmedge doctor` shows what differs from the machine that compiled it",
            )
    return {
        "bundle": str(bundle.directory),
        "engines": {name: engine.kind for name, engine in bundle.chosen.items()},
        "examples": len(next(iter(inputs.values()))),
        "outputs": msgspec.to_builtins(found),
        "tolerance": bundle.manifest.golden.tolerance,
    }
