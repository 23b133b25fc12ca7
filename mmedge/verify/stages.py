"""Stage `verify`: the engines are equal to the model, or the compile fails."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

from mmedge.artifact import Artifact, replace
from mmedge.engines import OpenArtifact, open_artifact
from mmedge.errors import VerificationError
from mmedge.stage import Workspace
from mmedge.verify.components import compare_components, compare_decoder, split_difference
from mmedge.verify.end_to_end import compare_end_to_end
from mmedge.verify.golden import write_golden
from mmedge.verify.judge import (
    check_numbers,
    component_tolerances,
    judge_component,
    judge_outputs,
    judge_split,
    judge_tokens,
    own_rounding,
    worst_tolerance,
)
from mmedge.verify.metrics import Difference
from mmedge.verify.own_rounding import OwnRounding
from mmedge.verify.sides import Opened
from mmedge.verify.task import judge_task
from mmedge.verify.tolerances import is_narrow, tolerance_for
from mmedge.wiring import with_indicators

# Optional inputs are left out one by one and in pairs; more combinations prove nothing new.
MOST_ABSENT = 2


class Verify:
    """Compare engines with the torch model and judge by tolerance and task metric."""

    name = "verify"
    requires: tuple[str, ...] = ("build",)
    config_keys: tuple[str, ...] = ("tolerance", "max_drop", "threads", "trust_pickle")
    target_keys: tuple[str, ...] | None = None

    def run(self, artifact: Artifact, workspace: Workspace, directory: Path) -> Artifact:
        """The artifact with its golden inputs and outputs. Raises VerificationError."""
        samples = workspace.evaluation
        own = own_rounding(workspace, artifact.wired)
        threads = workspace.config.threads
        with open_artifact(artifact, threads=threads, lean=True) as opened:
            record: dict[str, Any] = {"samples": samples.count, "origin": samples.origin}
            record["real_inputs"] = samples.real
            record["tolerance"] = workspace.config.tolerance
            record["component_tolerance"] = component_tolerances(artifact, workspace)
            workspace.progress("verifying the split against the model")
            record["split"] = _check_split(workspace, opened)
            workspace.progress("verifying each component")
            record["components"] = _check_components(artifact, workspace, opened, own)
            opened.close()  # the model answers the samples first, and has the memory
            workspace.progress(f"verifying end to end on {samples.count} samples")
            record |= _check_end_to_end(artifact, workspace, opened, own)
            record["own_rounding"] = {} if own is None else own.used
            record["absent"] = _check_absent(artifact, workspace, opened)
        golden = directory / "golden.npz"
        narrow = any(is_narrow(engine.precision) for engine in artifact.engines.values())
        write_golden(golden, workspace, artifact.wired, margins=narrow)
        return replace(artifact, golden=str(golden)).with_record(self.name, record)

    def ensures(self, artifact: Artifact) -> None:
        """Every output of the model was compared."""
        compared = artifact.records[self.name]["end_to_end"]
        missing = sorted(set(artifact.wired.outputs) - set(compared))
        if missing:
            raise VerificationError(f"outputs {missing} were not compared with the model")


def check_against(
    opened: Opened, workspace: Workspace, precisions: Iterable[str] = ()
) -> dict[str, Any]:
    """Open engines against the model on the whole evaluation set. Raises VerificationError.

    precisions: what the engines compute in.
    """
    samples = workspace.evaluation
    allowed = (tolerance_for(p, fp32=workspace.config.tolerance) for p in precisions)
    tolerance = max(allowed, default=workspace.config.tolerance)
    workspace.progress(f"comparing with PyTorch on {samples.count} samples")
    compared = compare_end_to_end(workspace.split, opened, samples)
    check_numbers(compared)
    own = own_rounding(workspace, opened.wiring)
    ties = judge_tokens(compared, workspace, opened.wiring, tolerance)
    judge_outputs(compared, tolerance, own=own, settled=ties)
    task = judge_task(workspace, compared)
    return {
        "samples": samples.count,
        "end_to_end": compared.differences,
        "near_ties": ties,
        "task": task,
    }


def _check_split(workspace: Workspace, opened: Opened) -> dict[str, Difference]:
    """The components in torch against forward; a generating model is compared by its tokens."""
    if workspace.split.generation is not None:
        return {}
    inputs = with_indicators(opened.wiring.inputs, workspace.evaluation.first(2))
    found = split_difference(workspace.split, inputs)
    judge_split(found, workspace.config.tolerance)
    return found


def _check_components(
    artifact: Artifact, workspace: Workspace, opened: OpenArtifact, own: OwnRounding | None
) -> dict[str, dict[str, Difference]]:
    """Every engine against the torch module it was made from."""
    samples, generation = workspace.evaluation, workspace.split.generation
    found = compare_components(workspace.split, opened, samples)
    if generation is not None:
        opened.close()  # the decoder alone is compared next
        found[generation.decoder] = compare_decoder(workspace.split, opened, samples.first(2))
    for name, outputs in found.items():
        judge_component(name, outputs, artifact, workspace, own=own)
    return found


def _check_end_to_end(
    artifact: Artifact, workspace: Workspace, opened: Opened, own: OwnRounding | None
) -> dict[str, Any]:
    """The whole on every sample, and what its golden outputs may differ by on a device."""
    compared = compare_end_to_end(workspace.split, opened, workspace.evaluation)
    check_numbers(compared)
    tolerance = worst_tolerance(artifact, workspace)
    ties = judge_tokens(compared, workspace, opened.wiring, tolerance)
    judge_outputs(compared, tolerance, own=own, settled=ties)
    moved = {name: found.relative for name, found in compared.differences.items()}
    return {
        "golden_tolerance": {
            name: tolerance if name in ties else max(tolerance, 2 * far)
            for name, far in moved.items()
        },
        "end_to_end": compared.differences,
        "near_ties": ties,
        "task": judge_task(workspace, compared),
    }


def _check_absent(
    artifact: Artifact, workspace: Workspace, opened: Opened
) -> dict[str, dict[str, Difference]]:
    """The same without each optional input, and without each pair of them."""
    optional = [item.spec.name for item in opened.wiring.inputs if item.optional]
    tolerance = worst_tolerance(artifact, workspace)
    found: dict[str, dict[str, Difference]] = {}
    for count in range(1, min(MOST_ABSENT, len(optional)) + 1):
        for absent in combinations(optional, count):
            if len(absent) == len(opened.wiring.inputs):
                continue
            label, without = ", ".join(absent), frozenset(absent)
            workspace.progress(f"verifying without {label}")
            compared = compare_end_to_end(
                workspace.split, opened, workspace.evaluation, without=without
            )
            ties = judge_tokens(compared, workspace, opened.wiring, tolerance)
            judge_outputs(compared, tolerance, when=f" without {label}", settled=ties)
            found[label] = compared.differences
    return found
