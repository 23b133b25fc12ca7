"""Stage `verify`: the engines are equal to the model, or the compile fails."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.artifact import Artifact, replace
from mmedge.config import CompileConfig
from mmedge.engines import OpenArtifact, open_artifact
from mmedge.errors import DataError, VerificationError
from mmedge.stage import Samples, Workspace
from mmedge.verify.bisect import Divergence, first_divergence
from mmedge.verify.compare import (
    EndToEnd,
    Opened,
    compare_components,
    compare_decoder,
    compare_end_to_end,
    joined,
    module_of,
    run_reference,
    split_difference,
    to_torch,
    with_indicators,
)
from mmedge.verify.metrics import Difference
from mmedge.verify.own_rounding import OwnRounding
from mmedge.verify.task import evaluate, load_metric
from mmedge.verify.tolerances import problem, tolerance_for
from mmedge.wiring import Wiring

GOLDEN_EXAMPLES = 4
# Optional inputs are left out one by one and in pairs; more combinations prove nothing new.
MOST_ABSENT = 2


class Verify:
    """Compare engines with the torch model and judge by tolerance and task metric."""

    name = "verify"
    requires: tuple[str, ...] = ("build",)
    config_keys: tuple[str, ...] = ("tolerance", "max_drop", "threads", "trust_pickle")

    def run(self, artifact: Artifact, workspace: Workspace, directory: Path) -> Artifact:
        """The artifact with its golden inputs and outputs. Raises VerificationError."""
        samples = workspace.evaluation
        own = _own_rounding(workspace, artifact.wired)
        with open_artifact(artifact, threads=workspace.config.threads) as opened:
            record: dict[str, Any] = {"samples": samples.count, "origin": samples.origin}
            record["real_inputs"] = samples.real
            record["tolerance"] = workspace.config.tolerance
            workspace.progress("verifying the split against the model")
            record["split"] = self._check_split(workspace, opened, samples)
            workspace.progress("verifying each component")
            record["components"] = self._check_components(artifact, workspace, opened, own)
            workspace.progress(f"verifying end to end on {samples.count} samples")
            record |= self._check_end_to_end(artifact, workspace, opened, own)
            record["own_rounding"] = {} if own is None else own.used
            record["absent"] = self._check_absent(artifact, workspace, opened, samples)
        golden = directory / "golden.npz"
        _write_golden(golden, workspace, samples, artifact)
        return replace(artifact, golden=str(golden)).with_record(self.name, record)

    def ensures(self, artifact: Artifact) -> None:
        """Every output of the model was compared."""
        compared = artifact.records[self.name]["end_to_end"]
        missing = sorted(set(artifact.wired.outputs) - set(compared))
        if missing:
            raise VerificationError(f"outputs {missing} were not compared with the model")

    def _check_split(
        self, workspace: Workspace, opened: OpenArtifact, samples: Samples
    ) -> dict[str, Difference]:
        """The recipe's components, in torch, are the user's forward."""
        if workspace.split.generation is not None:
            return {}
        inputs = with_indicators(opened.wiring, samples.first(2))
        found = split_difference(workspace.split, inputs)
        for output, difference in found.items():
            reason = problem(difference, workspace.config.tolerance, exact=False)
            if reason:
                raise VerificationError(
                    f"the recipe's components do not compute what forward computes: {output}",
                    found=reason,
                    expected=f"at most {workspace.config.tolerance:.0e}",
                    hint='the recipe splits forward wrongly; try [recipe] name = "single_graph"',
                )
        return found

    def _check_components(
        self,
        artifact: Artifact,
        workspace: Workspace,
        opened: OpenArtifact,
        own: OwnRounding | None,
    ) -> dict[str, dict[str, Difference]]:
        samples = workspace.evaluation
        found = compare_components(workspace.split, opened, samples)
        if workspace.split.generation is not None:
            name = workspace.split.generation.decoder
            inputs = samples.first(2)
            found[name] = compare_decoder(workspace.split, opened, inputs)
        for name, outputs in found.items():
            self._judge(artifact, workspace, own, name, outputs)
        return found

    def _judge(
        self,
        artifact: Artifact,
        workspace: Workspace,
        own: OwnRounding | None,
        component: str,
        outputs: dict[str, Difference],
    ) -> None:
        engine = artifact.engines[component]
        tolerance = tolerance_for(engine.precision, fp32=workspace.config.tolerance)
        specs = {t.name: t for t in artifact.wired.component(component).outputs}
        for output, difference in outputs.items():
            exact = np.dtype(specs[output].dtype).kind != "f"
            reason = problem(difference, tolerance, exact=exact)
            if reason and not exact and own is not None:
                room = max(tolerance, own.allowed(component, output))
                reason = problem(difference, room, exact=False)
            if reason:
                culprit = _bisect(artifact, workspace, component, tolerance)
                raise _failure(f"output {output!r} of {component!r}", reason, tolerance, culprit)

    def _check_end_to_end(
        self,
        artifact: Artifact,
        workspace: Workspace,
        opened: OpenArtifact,
        own: OwnRounding | None,
    ) -> dict[str, Any]:
        samples = workspace.evaluation
        compared = compare_end_to_end(workspace.split, opened, samples)
        _check_numbers(compared)
        tolerance = _worst_tolerance(artifact, workspace)
        _judge_outputs(compared, tolerance, own=own)
        moved = {name: found.relative for name, found in compared.differences.items()}
        return {
            "golden_tolerance": {name: max(tolerance, 2 * far) for name, far in moved.items()},
            "end_to_end": compared.differences,
            "task": _task(workspace, samples, compared),
        }

    def _check_absent(
        self, artifact: Artifact, workspace: Workspace, opened: OpenArtifact, samples: Samples
    ) -> dict[str, dict[str, Difference]]:
        """The same without each optional input, and without each pair of them."""
        optional = [item.spec.name for item in opened.wiring.inputs if item.optional]
        tolerance = _worst_tolerance(artifact, workspace)
        found: dict[str, dict[str, Difference]] = {}
        for count in range(1, min(MOST_ABSENT, len(optional)) + 1):
            for without in combinations(optional, count):
                if len(without) == len(opened.wiring.inputs):
                    continue
                label = ", ".join(without)
                workspace.progress(f"verifying without {label}")
                compared = compare_end_to_end(
                    workspace.split, opened, samples, without=frozenset(without)
                )
                _judge_outputs(compared, tolerance, f" without {label}")
                found[label] = compared.differences
        return found


def check_against(opened: Opened, workspace: Workspace) -> dict[str, Any]:
    """Open engines against the model on the whole evaluation set. Raises VerificationError."""
    samples = workspace.evaluation
    workspace.progress(f"comparing with PyTorch on {samples.count} samples")
    compared = compare_end_to_end(workspace.split, opened, samples)
    _check_numbers(compared)
    own = _own_rounding(workspace, opened.wiring)
    _judge_outputs(compared, workspace.config.tolerance, own=own)
    task = _task(workspace, samples, compared)
    return {"samples": samples.count, "end_to_end": compared.differences, "task": task}


def _judge_outputs(
    compared: EndToEnd, tolerance: float, when: str = "", *, own: OwnRounding | None = None
) -> None:
    for output, difference in compared.differences.items():
        exact = compared.wanted[0][output].dtype.kind != "f"
        reason = problem(difference, tolerance, exact=exact)
        if reason and own is not None and not exact:
            room = max(tolerance, own.allowed_output(output))
            reason = problem(difference, room, exact=False)
        if reason:
            raise _failure(f"output {output!r}{when}", reason, tolerance, None)


def _check_numbers(compared: EndToEnd) -> None:
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


def _task(workspace: Workspace, samples: Samples, compared: EndToEnd) -> dict[str, Any] | None:
    """The task metric of the model and of the engine; raises if it fell too far."""
    loaded = load_metric(workspace.project)
    if loaded is None:
        return None
    name, metric = loaded
    if samples.targets is None:
        raise DataError(
            f"the metric {name!r} cannot be computed: the samples have no targets",
            found=samples.origin,
            expected="[data] evaluation, whose samples are pairs (inputs, target)",
            where="[data] metric",
        )
    targets = [samples.targets[i] for i in compared.examples]
    before = evaluate(metric, joined(compared.wanted), targets)
    after = evaluate(metric, joined(compared.found), targets)
    if before - after > workspace.config.max_drop:
        raise VerificationError(
            f"{name} fell from {before:.4f} to {after:.4f}",
            found=f"a drop of {before - after:.4f}",
            expected=f"at most {workspace.config.max_drop} (--max-drop)",
        )
    return {"metric": name, "before": before, "after": after, "samples": len(targets)}


def _own_rounding(workspace: Workspace, wiring: Wiring) -> OwnRounding | None:
    """The model's own rounding; None where the user asks for less than the usual tolerance."""
    if workspace.config.tolerance < CompileConfig().tolerance:
        return None
    inputs = with_indicators(wiring, workspace.evaluation.first(2))
    return OwnRounding(workspace.model, workspace.split, to_torch(inputs))


def _bisect(
    artifact: Artifact, workspace: Workspace, name: str, tolerance: float
) -> Divergence | None:
    samples = workspace.evaluation
    module = module_of(workspace.split, name)
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


def _worst_tolerance(artifact: Artifact, workspace: Workspace) -> float:
    precisions = {engine.precision for engine in artifact.engines.values()}
    return max(tolerance_for(p, fp32=workspace.config.tolerance) for p in precisions)


def _write_golden(path: Path, workspace: Workspace, samples: Samples, artifact: Artifact) -> None:
    """A few inputs and the model's own outputs for them."""
    first = artifact.wired.inputs[0].spec.shape[0]
    inputs = samples.first(first if isinstance(first, int) else min(GOLDEN_EXAMPLES, samples.count))
    outputs = run_reference(workspace.split, inputs)
    arrays = {f"input:{name}": array for name, array in inputs.items()}
    arrays |= {f"output:{name}": array for name, array in outputs.items()}
    with path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
