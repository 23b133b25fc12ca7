"""The check a device can do: a bundle's golden inputs give the original model's outputs."""

from __future__ import annotations

from typing import Any

import msgspec

from mmedge.errors import VerificationError
from mmedge.runtime.bundle import Bundle
from mmedge.verify.compare import check_same_outputs, differences
from mmedge.verify.tolerances import problem


def check_golden(bundle: Bundle) -> dict[str, Any]:
    """Run the golden inputs and compare. Raises VerificationError; returns what was compared."""
    inputs, wanted = bundle.golden()
    produced = bundle.run(inputs)
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
