"""`--shape batch=1:4:16`: the sizes of an axis that engines are built for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mmedge.engine_plan import Range
from mmedge.errors import ProjectError
from mmedge.generated_axes import decided_axes
from mmedge.strict import nearest
from mmedge.tensors import Axis
from mmedge.wiring import Wiring

SIZES = re.compile(r"(\d+)(?::(\d+):(\d+))?")
EXPECTED = "min:opt:max, as 1:4:16; one size, as 4; several of these with commas between them"
# Of an axis inside the model, sizes beyond are no sizes of tensors, but mistyped.
ANY = Axis(1, 1, 2**31 - 1)


def ranges_of(axis: str, text: str) -> tuple[Range, ...]:
    """What "1:1:1,2:4:16" says, one range for each optimization profile. Raises ProjectError."""
    found = []
    for part in text.split(","):
        match = SIZES.fullmatch(part.strip())
        if match is None:
            raise _wrong(axis, "is not understood", part.strip())
        low, best, high = (int(size or match[1]) for size in match.groups())
        if min(low, best, high) < 1:
            raise _wrong(axis, "has a size below 1", part.strip())
        if not low <= best <= high:
            raise _wrong(axis, "is not ordered", part.strip())
        found.append(Range(low, best, high))
    return tuple(found)


def read_shapes(shapes: Mapping[str, str]) -> dict[str, tuple[Range, ...]]:
    """Axis -> its ranges. ProjectError where axes have several, and not equally many."""
    found = {axis: ranges_of(axis, text) for axis, text in shapes.items()}
    several = {axis: len(ranges) for axis, ranges in found.items() if len(ranges) > 1}
    if len(set(several.values())) > 1:
        raise ProjectError(
            "the shapes of these axes make conflicting optimization profiles",
            found=", ".join(f"{axis}: {count} ranges" for axis, count in several.items()),
            expected="as many ranges for each axis, or one that holds in every profile",
        )
    return found


def profile_count(shapes: Mapping[str, tuple[Range, ...]]) -> int:
    """How many optimization profiles the shapes ask for."""
    return max((len(ranges) for ranges in shapes.values()), default=1)


@dataclass(frozen=True)
class Limits:
    """Whose the sizes are that an axis may have, and what to do about sizes beyond."""

    whose: str
    hint: str | None = None


PROJECT = Limits("as the project's [axes] says")
BUNDLE = Limits(
    "as the bundle was compiled", "compile it again with a wider --shape: mmedge compile MODEL"
)


def narrowed(
    axes: Mapping[str, Axis],
    shapes: Mapping[str, tuple[Range, ...]],
    *,
    inner: Iterable[str] = (),
    limits: Limits = PROJECT,
) -> dict[str, Axis]:
    """The axes of a model's inputs, each within the ranges that are asked for.

    inner: axes that only components have; a shape may name them, and they are not returned.
    limits: whose the axes are.
    Raises ProjectError for an axis that there is not, and for sizes that the model does not take.
    """
    known = [*axes, *inner]
    for axis, ranges in shapes.items():
        if axis not in known:
            raise ProjectError(f"there is no axis {axis!r} to shape", hint=nearest(axis, known))
        _check_sizes(axis, axes.get(axis, ANY), ranges, limits)
    return {
        name: _hull(axis, shapes[name]) if name in shapes else axis for name, axis in axes.items()
    }


def narrowed_wiring(
    wiring: Wiring, shapes: Mapping[str, tuple[Range, ...]], *, limits: Limits = PROJECT
) -> dict[str, Axis]:
    """`narrowed` of a model whose components are known.

    Raises ProjectError also for an axis of a cache: it follows from the prompt and the answer.
    """
    decided = decided_axes(wiring)
    inner = [axis for axis in wiring.inner_axes() if axis not in decided]
    for axis in shapes:
        if axis in decided:
            raise ProjectError(
                f"axis {axis!r} cannot be shaped: its sizes are the decoder's own, for the prompt "
                "and for each token after it",
                found=f"{axis}={','.join(map(str, shapes[axis]))}",
                expected=f"any of {', '.join([*wiring.axes, *inner])}",
                hint="they follow from the length of the prompt: shape that",
            )
    return narrowed(wiring.axes, shapes, inner=inner, limits=limits)


def _hull(axis: Axis, ranges: tuple[Range, ...]) -> Axis:
    low, high = min(r.min for r in ranges), max(r.max for r in ranges)
    return Axis(low, ranges[0].opt, high, axis.step)


def _check_sizes(name: str, axis: Axis, ranges: tuple[Range, ...], limits: Limits) -> None:
    for sizes in ranges:
        if not axis.min <= sizes.min <= sizes.max <= axis.max:
            whose, hint = (f", {limits.whose}", limits.hint) if axis != ANY else ("", None)
            beyond, end = ("above", axis.max) if sizes.max > axis.max else ("below", axis.min)
            raise ProjectError(
                f"axis {name!r} cannot have these sizes: some are {beyond} {end}",
                found=str(sizes),
                expected=f"within {axis.min} to {axis.max}{whose}",
                hint=hint,
            )
        if any(size % axis.step for size in (sizes.min, sizes.opt, sizes.max)):
            raise ProjectError(
                f"axis {name!r} cannot have these sizes",
                found=str(sizes),
                expected=f"multiples of {axis.step}",
            )


def _wrong(axis: str, what: str, found: str) -> ProjectError:
    return ProjectError(f"the shape of axis {axis!r} {what}", found=found, expected=EXPECTED)
