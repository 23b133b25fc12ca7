"""Judging: how far outputs may be from the model's, and what is said of those that are farther."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from mmedge.artifact import Artifact
from mmedge.config import CompileConfig
from mmedge.errors import VerificationError
from mmedge.stage import Workspace
from mmedge.verify.bisect import Divergence, first_divergence
from mmedge.verify.end_to_end import EndToEnd
from mmedge.verify.metrics import Difference
from mmedge.verify.near_ties import NearTie, near_ties
from mmedge.verify.own_rounding import OwnRounding
from mmedge.verify.sides import to_torch
from mmedge.verify.tolerances import problem, tolerance_for
from mmedge.wiring import Wiring, with_indicators


def own_rounding(workspace: Workspace, wiring: Wiring) -> OwnRounding | None:
    """The model's own rounding; None where the user asks for less than the usual tolerance."""
    if workspace.config.tolerance < CompileConfig().tolerance:
        return None
    inputs = with_indicators(wiring.inputs, workspace.evaluation.first(2))
    return OwnRounding(workspace.model, workspace.split, to_torch(inputs))


def component_tolerances(artifact: Artifact, workspace: Workspace) -> dict[str, float]:
    """What each component's outputs are allowed, by what its engine computes in."""
    fp32 = workspace.config.tolerance
    return {
        name: tolerance_for(engine.precision, fp32=fp32)
        for name, engine in artifact.engines.items()
    }


def worst_tolerance(artifact: Artifact, workspace: Workspace) -> float:
    """What outputs are allowed that may have come through any of the engines."""
    precisions = {engine.precision for engine in artifact.engines.values()}
    return max(tolerance_for(p, fp32=workspace.config.tolerance) for p in precisions)


def judge_split(found: dict[str, Difference], tolerance: float) -> None:
    """VerificationError unless the recipe's components, in torch, are the user's forward."""
    for output, difference in found.items():
        reason = problem(difference, tolerance, exact=False)
        if reason:
            raise VerificationError(
                f"the recipe's components do not compute what forward computes: {output}",
                found=reason,
                expected=f"at most {tolerance:.0e}",
                hint='the recipe splits forward wrongly; try [recipe] name = "single_graph"',
            )


def judge_component(
    name: str,
    outputs: dict[str, Difference],
    artifact: Artifact,
    workspace: Workspace,
    *,
    own: OwnRounding | None,
) -> None:
    """VerificationError if an output of a component moved too far: with the module that did it."""
    tolerance = tolerance_for(artifact.engines[name].precision, fp32=workspace.config.tolerance)
    specs = {tensor.name: tensor for tensor in artifact.wired.component(name).outputs}
    for output, difference in outputs.items():
        exact = np.dtype(specs[output].dtype).kind != "f"
        room = None if own is None else partial(own.allowed, name, output)
        reason = _too_far(difference, tolerance, room, exact=exact)
        if reason:
            culprit = _bisect(artifact, workspace, name, tolerance)
            raise _failure(f"output {output!r} of {name!r}", reason, tolerance, culprit)


def judge_outputs(
    compared: EndToEnd,
    tolerance: float,
    *,
    when: str = "",
    own: OwnRounding | None = None,
    settled: Collection[str] = (),
) -> None:
    """VerificationError if an output of the whole moved too far.

    when: what was special about the inputs, for the message.
    settled: outputs that were judged otherwise (`judge_tokens`).
    """
    for output, difference in compared.differences.items():
        if output in settled:
            continue
        exact = compared.wanted[0][output].dtype.kind != "f"
        room = None if own is None else partial(own.allowed_output, output)
        reason = _too_far(difference, tolerance, room, exact=exact)
        if reason:
            raise _failure(f"output {output!r}{when}", reason, tolerance, None)


def judge_tokens(
    compared: EndToEnd, workspace: Workspace, wiring: Wiring, tolerance: float
) -> dict[str, list[NearTie]]:
    """Where the generated tokens part from the model's, by output; {} if they need be equal.

    tolerance: of engines that round to 16 bits. VerificationError for a token that the model's
    own scores do not excuse.
    """
    generation = wiring.generation
    if generation is None or tolerance <= workspace.config.tolerance:
        return {}
    found: dict[str, list[NearTie]] = {}
    for output in (name for name, source in wiring.outputs.items() if source == generation.tokens):
        rows = iter(compared.examples)
        found[output] = []
        for inputs, mine, theirs in zip(
            compared.inputs(), compared.wanted, compared.found, strict=True
        ):
            examples = list(islice(rows, len(mine[output])))
            found[output] += near_ties(
                workspace.split,
                wiring,
                inputs,
                mine[output],
                theirs[output],
                tolerance=tolerance,
                examples=examples,
            )
    return found


def check_numbers(compared: EndToEnd) -> None:
    """The model itself gives numbers: with NaN there is nothing to be equal to."""
    for output, difference in compared.differences.items():
        arrays = [batch[output] for batch in compared.wanted]
        count = sum(int(np.isnan(a).sum()) for a in arrays if a.dtype.kind == "f")
        if count:
            raise VerificationError(
                f"the model itself gives NaN in output {output!r}",
                found=f"{count} of {difference.count} values",
                expected="numbers, for the evaluation samples",
                hint="check the model, and the preprocessing of the samples",
            )


def _too_far(
    difference: Difference, tolerance: float, room: Callable[[], float] | None, *, exact: bool
) -> str | None:
    """Why the difference is not acceptable, or None. `room` is costly: only asked if it matters."""
    reason = problem(difference, tolerance, exact=exact)
    if reason is None or exact or room is None:
        return reason
    return problem(difference, max(tolerance, room()), exact=False)


def _bisect(
    artifact: Artifact, workspace: Workspace, name: str, tolerance: float
) -> Divergence | None:
    samples = workspace.evaluation
    module = workspace.split.component(name)
    values = workspace.split.run(to_torch(samples.first(2)))
    inputs = {argument: values[source] for argument, source in module.bindings.items()}
    if workspace.split.generation and workspace.split.generation.decoder == name:
        inputs |= workspace.split.decoder_examples
    return first_divergence(module, Path(artifact.engines[name].path), inputs, tolerance)


def _failure(
    what: str, reason: str, tolerance: float, culprit: Divergence | None
) -> VerificationError:
    where = None
    if culprit is not None:
        where = f"module {culprit.module!r} of {culprit.component!r} is the first that differs"
        where += f" (node {culprit.node!r}, {culprit.operator},"
        where += f" relative difference {culprit.difference.relative:.2e}"
        where += f"; {culprit.last_equal!r} before it is equal)" if culprit.last_equal else ")"
    return VerificationError(
        f"{what} is not equal to the model's",
        found=reason,
        expected=f"at most {tolerance:.0e} of the largest value",
        where=where,
    )
