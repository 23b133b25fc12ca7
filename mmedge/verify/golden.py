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
from mmedge.verify.outputs import check_same_outputs, differences
from mmedge.verify.sides import run_reference
from mmedge.verify.tolerances import problem

if TYPE_CHECKING:
    from mmedge.stage import Workspace
    from mmedge.wiring import Wiring

GOLDEN_EXAMPLES = 4


def write_golden(path: Path, workspace: Workspace, wiring: Wiring) -> None:
    """A few inputs of the evaluation set and the model's own outputs for them, as .npz."""
    samples, first = workspace.evaluation, wiring.inputs[0].spec.shape[0]
    count = first if isinstance(first, int) else min(GOLDEN_EXAMPLES, samples.count)
    inputs = samples.first(count)
    outputs = run_reference(workspace.split, inputs)
    arrays = {f"input:{name}": array for name, array in inputs.items()}
    arrays |= {f"output:{name}": array for name, array in outputs.items()}
    with path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def check_golden(bundle: Bundle) -> dict[str, Any]:
    """Run the golden inputs and compare. Raises VerificationError; returns what was compared."""
    inputs, wanted = bundle.golden()
    produced = bundle.run(inputs, options=COMPARED)
    check_same_outputs(wanted, produced)
    found = differences(wanted, produced)
    for output, difference in found.items():
        tolerance = bundle.manifest.golden.tolerance[output]
        exact = wanted[output].dtype.kind != "f"
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
