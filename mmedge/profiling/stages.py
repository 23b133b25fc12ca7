"""Stage `measure`: the engines against PyTorch eager on this machine, alternating in one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmedge.artifact import Artifact
from mmedge.engines import open_artifact
from mmedge.errors import NotFasterError
from mmedge.profiling.latency import measure_interleaved
from mmedge.profiling.machine import fingerprint, watch
from mmedge.profiling.record import as_record
from mmedge.recipes import Split
from mmedge.runtime.next_token import COMPARED
from mmedge.stage import Workspace
from mmedge.tensors import Array
from mmedge.wiring import resize_axis, with_indicators

if TYPE_CHECKING:
    import torch

# The whole model is what the user waits for; the components share the rest of the time.
END_TO_END_SHARE = 0.6


class Measure:
    """Measure end to end and each component; refuse an engine that is measurably slower."""

    name = "measure"
    requires: tuple[str, ...] = ("verify",)
    config_keys: tuple[str, ...] = ("measure_seconds", "threads", "allow_slower", "trust_pickle")
    target_keys: tuple[str, ...] | None = None

    def run(self, artifact: Artifact, workspace: Workspace, directory: Path) -> Artifact:
        """The artifact with latencies. Raises NotFasterError unless slower is allowed."""
        seconds = workspace.config.measure_seconds
        why = _why_not(artifact, seconds)
        if why is not None:
            nothing: dict[str, Any] = {
                "end_to_end": None,
                "components": {},
                "dirty": [],
                "keep": True,
                "machine": None,
                "why": why,
            }
            return artifact.with_record(self.name, nothing)
        batch = batch_size(artifact)
        inputs = workspace.evaluation.first(batch)
        with watch() as state, open_artifact(artifact, threads=workspace.config.threads) as opened:
            workspace.progress(f"measuring end to end for {seconds * END_TO_END_SHARE:.0f} s")
            pairs = {
                "engine": lambda: opened.run(inputs, options=COMPARED),
                "pytorch": eager(workspace, inputs),
            }
            whole = measure_interleaved(pairs, seconds=seconds * END_TO_END_SHARE)
            share = seconds * (1 - END_TO_END_SHARE) / len(artifact.engines)
            components = {}
            calls = component_calls(artifact, workspace, opened.run_component, inputs)
            for name, pair in calls.items():
                workspace.progress(f"measuring {name}")
                components[name] = as_record(measure_interleaved(pair, seconds=share))
        record: dict[str, Any] = {
            "measured": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "batch": batch,
            "threads": workspace.config.threads,
            "machine": fingerprint(),
            "end_to_end": as_record(whole, with_samples=True),
            "components": components,
            "dirty": list(state.reasons),
            "keep": not state.reasons,
        }
        if not workspace.config.allow_slower:
            _refuse_slower(record["end_to_end"], record["dirty"])
        return artifact.with_record(self.name, record)

    def ensures(self, artifact: Artifact) -> None:
        """A measurement that was made has samples."""
        whole = artifact.records[self.name]["end_to_end"]
        if whole is not None and not whole["summaries"]["engine"]["count"]:
            raise NotFasterError("the engine was not measured")


def _why_not(artifact: Artifact, seconds: float) -> str | None:
    """Why nothing is measured in a compile; None if something is."""
    if artifact.plans:
        library = next(iter(artifact.plans.values())).library
        return (
            f"the engines of {artifact.provenance.target} are run by {library} on that target: "
            "mmedge profile BUNDLE, there, measures them"
        )
    return "--measure-seconds was 0" if seconds == 0 else None


def batch_size(artifact: Artifact) -> int:
    """The batch to measure: the batch axis' `opt`, or the fixed size."""
    first = artifact.wired.inputs[0].spec.shape[0]
    return first if isinstance(first, int) else artifact.wired.axes[first].opt


def eager(workspace: Workspace, inputs: Mapping[str, Array]) -> Callable[[], object]:
    """The user's model on `inputs`, as PyTorch runs it best without compiling."""
    import torch

    tensors = _tensors(inputs)
    reference = workspace.split.reference

    def call() -> object:
        with torch.inference_mode():
            return reference(tensors)

    return call


def _tensors(arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    """The arrays as tensors, none of which shares memory with an array."""
    import torch

    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def component_calls(
    artifact: Artifact,
    workspace: Workspace,
    run_component: Callable[[str, dict[str, Array]], dict[str, Array]],
    inputs: Mapping[str, Array],
) -> dict[str, dict[str, Callable[[], object]]]:
    """For each component its engine and its torch module; a decoder on the recipe's example."""
    import torch

    split = workspace.split
    values = split.run(_tensors(with_indicators(artifact.wired.inputs, inputs)))
    calls: dict[str, dict[str, Callable[[], object]]] = {}
    for component in split.components:
        if component.name not in artifact.engines:
            continue
        given = {name: values[source] for name, source in component.bindings.items()}
        if split.generation is not None and split.generation.decoder == component.name:
            given |= _decoder_example(split, len(next(iter(inputs.values()))))
        arguments = given.values()
        needed = artifact.wired.component(component.name).inputs
        feeds = {
            tensor.name: given[tensor.name].numpy().astype(tensor.dtype, copy=False)
            for tensor in needed
        }
        calls[component.name] = {
            "engine": partial(run_component, component.name, feeds),
            "pytorch": torch.inference_mode()(partial(component.module, *arguments)),
        }
    return calls


def _decoder_example(split: Split, batch: int) -> dict[str, torch.Tensor]:
    """What the loop feeds in mid-sequence, for as many sequences as everything else has."""
    import torch

    arrays = {name: tensor.numpy() for name, tensor in split.decoder_examples.items()}
    axis = split.decoder_inputs[0].shape[0]
    if isinstance(axis, str):
        arrays = resize_axis(arrays, split.decoder_inputs, axis=axis, size=batch)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _refuse_slower(whole: dict[str, Any], disturbances: list[str]) -> None:
    speedup = whole["speedup"]
    if speedup["high"] < 1:
        engine, eager_ms = (whole["summaries"][side]["p50_ms"] for side in ("engine", "pytorch"))
        raise NotFasterError(
            "the engine is slower than PyTorch eager on this machine",
            found=f"{engine:.3f} ms against {eager_ms:.3f} ms, "
            f"{speedup['value']:.2f}x ({speedup['low']:.2f} to {speedup['high']:.2f}, 95%)",
            expected="at least 1.00x within the interval",
            where="\n".join(["a disturbed measurement:", *disturbances]) if disturbances else None,
            hint="measure again on a quiet machine, perhaps with other --threads; "
            "--allow-slower keeps it all the same",
        )
