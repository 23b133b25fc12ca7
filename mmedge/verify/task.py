"""The task's own metric: what the model is for, before and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmedge.errors import DataError, MmedgeError, ProjectError, VerificationError
from mmedge.project import Project
from mmedge.strict import nearest
from mmedge.verify.outputs import joined
from mmedge.verify.recall import Output, recall_at_1

if TYPE_CHECKING:
    from mmedge.stage import Samples, Workspace
    from mmedge.verify.end_to_end import EndToEnd

Metric = Callable[[Mapping[str, Output], list[Any]], float]


def load_metric(project: Project) -> tuple[str, Metric] | None:
    """The metric that [data] names, or None. A name of BUILT_IN, or "module:function".

    A built-in metric reads the first output, or the one named after a slash: "accuracy/logits";
    one that reads two, "recall_at_1/image_embeds/text_embeds".
    A function of one's own gets all outputs over the whole evaluation set by name, and the list
    of targets, and returns a number; larger is better. An output whose examples differ in shape
    is a list of arrays, one for each example; any other is one array [examples, ...].
    """
    name = project.file.data.metric
    check_metric(project)
    if not name:
        return None
    if ":" in name:
        return name, project.load_callable(name)
    read, compute = BUILT_IN[name.partition("/")[0]]
    _, *names = name.split("/", read)
    return name, lambda outputs, targets: compute(*_pick(outputs, names, count=read), targets)


def check_metric(project: Project) -> None:
    """Raise ProjectError for a metric that is not there; imports nothing of the project."""
    name = project.file.data.metric
    kind = name.partition("/")[0]
    if name and ":" not in name and kind not in BUILT_IN:
        raise ProjectError(
            f"there is no metric {kind!r}",
            where="[data] metric",
            hint=nearest(kind, list(BUILT_IN)) + '; or name your own as "module:function"',
        )
    if kind in BUILT_IN and 0 < name.count("/") < BUILT_IN[kind].outputs:
        raise ProjectError(
            f"the metric {kind!r} reads {BUILT_IN[kind].outputs} outputs",
            found=name,
            expected=f"{kind}, or that and the names of all of them, after a slash each",
            where="[data] metric",
        )


def evaluate(metric: Metric, outputs: Mapping[str, Output], targets: list[Any]) -> float:
    """The metric as a finite float; DataError where it gives none, or raises."""
    try:
        value = metric(outputs, targets)
        number = np.asarray(value, dtype=np.float64)
    except MmedgeError:
        raise
    except Exception as error:
        shapes = ", ".join(f"{name}: {_shape(output)}" for name, output in outputs.items())
        raise DataError(
            f"the metric failed on {len(targets)} targets and the outputs {shapes}",
            found=f"{type(error).__name__}: {error}",
            where="[data] metric",
        ) from error
    if number.size != 1 or not np.isfinite(number).all():
        raise DataError("the metric did not give a finite number", found=repr(value))
    return float(number.item())


def _shape(output: Output) -> str:
    if isinstance(output, np.ndarray):
        return str(list(output.shape))
    return f"{len(output)} arrays of unequal shape"


def judge_task(workspace: Workspace, compared: EndToEnd) -> dict[str, Any] | None:
    """The metric of the model and of the engine, for the report; None without one.

    Raises DataError for samples without targets, VerificationError where the engine's fell by
    more than `max_drop`.
    """
    loaded = load_metric(workspace.project)
    if loaded is None:
        return None
    name, metric = loaded
    targets = _targets(name, workspace.evaluation, compared.examples)
    before = evaluate(metric, joined(compared.wanted), targets)
    after = evaluate(metric, joined(compared.found), targets)
    if before - after > workspace.config.max_drop:
        raise VerificationError(
            f"{name} fell from {before:.4f} to {after:.4f}",
            found=f"a drop of {before - after:.4f}",
            expected=f"at most {workspace.config.max_drop} (--max-drop)",
        )
    return {"metric": name, "before": before, "after": after, "samples": len(targets)}


def _targets(metric: str, samples: Samples, examples: list[int]) -> list[Any]:
    """The targets of the examples, in their order."""
    if samples.targets is None:
        raise DataError(
            f"the metric {metric!r} cannot be computed: the samples have no targets",
            found=samples.origin,
            expected="[data] evaluation, whose samples are pairs (inputs, target)",
            where="[data] metric",
        )
    return [samples.targets[number] for number in examples]


def accuracy(scores: Output, targets: list[Any]) -> float:
    """Share of rows of scores [count, classes] whose largest entry is the target class.

    Raises DataError for a target that is not an integer within 0..classes-1.
    """
    for number, (row, target) in enumerate(zip(scores, targets, strict=True)):
        given, classes = np.asarray(target), np.shape(row)[-1]
        integer = given.size == 1 and given.dtype.kind in "iub"
        if not integer or not 0 <= int(given.item()) < classes:
            expected = f"an integer of 0..{classes - 1}: the output has {classes} classes"
            raise _bad_target("a class", number, target, expected)
    chosen = np.concatenate([np.asarray(row).argmax(axis=-1).reshape(-1) for row in scores])
    wanted = np.array([np.asarray(target).item() for target in targets])
    return float(np.mean(chosen.reshape(len(targets)) == wanted))


def exact_match(tokens: Output, targets: list[Any]) -> float:
    """Share of rows of tokens [count, length] that start with the whole target sequence.

    Shorter and longer answers differ by what follows: padding is not compared. Raises DataError
    for a target that is empty or holds anything but integers of at least 0.
    """
    hits = 0
    for number, (row, target) in enumerate(zip(tokens, targets, strict=True)):
        wanted = np.asarray(target).reshape(-1)
        if not wanted.size or wanted.dtype.kind not in "iub" or int(wanted.min()) < 0:
            expected = "one token id or more, each an integer of at least 0, without padding"
            raise _bad_target("a token sequence", number, target, expected)
        hits += len(row) >= len(wanted) and bool(np.array_equal(row[: len(wanted)], wanted))
    return hits / len(targets)


def _bad_target(what: str, number: int, target: object, expected: str) -> DataError:
    return DataError(
        f"the target {target!r} is not {what}",
        found=f"the target of evaluated sample {number}; samples of one shape go together",
        expected=expected,
        where="[data] evaluation",
    )


class BuiltIn(NamedTuple):
    """A metric that mmedge knows: called with that many outputs, and the targets."""

    outputs: int
    compute: Callable[..., float]


BUILT_IN = {
    "accuracy": BuiltIn(1, accuracy),
    "exact_match": BuiltIn(1, exact_match),
    "recall_at_1": BuiltIn(2, recall_at_1),
}


def _pick(outputs: Mapping[str, Output], names: list[str], *, count: int) -> list[Output]:
    """The named outputs, or the first ones."""
    chosen = names or list(outputs)[:count]
    for name in chosen:
        if name not in outputs:
            raise ProjectError(
                f"the metric reads output {name!r}, which the model does not have",
                where="[data] metric",
                hint=nearest(name, list(outputs)),
            )
    if len(chosen) < count:
        raise ProjectError(
            f"the metric reads {count} outputs",
            found=f"a model with {', '.join(outputs)} only",
            where="[data] metric",
        )
    return [outputs[name] for name in chosen]
