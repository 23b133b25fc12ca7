"""Which operators of a graph may be quantized together: those that move its outputs least."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Close = Callable[[Sequence[str]], bool]


def largest_prefix(ordered: Sequence[str], close_enough: Close) -> Sequence[str]:
    """The longest run of `ordered`, from its start, that is close enough; by bisection.

    ordered: the least sensitive first. That each of a run's operators adds error is assumed, not
    known: the run that is returned was tried itself, a longer one may have been close too.
    """
    good, bad = 0, len(ordered)
    if close_enough(ordered):
        return ordered
    while bad - good > 1:
        middle = (good + bad) // 2
        if close_enough(ordered[:middle]):
            good = middle
        else:
            bad = middle
    return ordered[:good]
