"""How far an output may move, by the precision it was computed in."""

from __future__ import annotations

from mmedge.verify.metrics import Difference

# Relative to the output's largest value. fp32 comes from the configuration: reordered sums of a
# few thousand products differ by about 1e-6; those of fp16 and bf16 follow their 10 and 7 mantissa
# bits. int8 was searched under a limit of its own (cosine 0.999 of each component, which leaves a
# root mean square of 4.5%): this is three times that, and the task's metric judges beside it.
RELATIVE = {"fp16": 2e-2, "bf16": 8e-2, "int8": 1.5e-1}


def tolerance_for(precision: str, *, fp32: float) -> float:
    """The allowed relative difference of an output of an engine in `precision`.

    fp32: what is allowed in float32; where that is more, it holds for all.
    """
    return max(fp32, RELATIVE.get(precision, 0.0))


def is_narrow(precision: str) -> bool:
    """Whether an engine in `precision` rounds so much that it may choose another near tie."""
    return precision in RELATIVE


def problem(difference: Difference, tolerance: float, *, exact: bool) -> str | None:
    """Why the difference is not acceptable, or None. `exact`: the output holds integers."""
    if difference.not_finite:
        return f"{difference.not_finite} of {difference.count} values became NaN or infinite"
    if exact and difference.mismatched:
        return f"{difference.mismatched} of {difference.count} integers differ"
    if not exact and not difference.relative <= tolerance:
        return f"moved by {difference.relative:.2e} of its largest value"
    return None
