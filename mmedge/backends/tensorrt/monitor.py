"""A build's progress, and its end when somebody interrupts it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Progress = Callable[[str], None]


def make_monitor(module: Any, label: str, progress: Progress) -> Any:
    """An IProgressMonitor that tells `progress` of the outermost phase, in whole percents.

    Its `interrupted` is the exception that stopped the build, to be raised after TensorRT has
    returned: nothing may be thrown through it.
    """

    class Monitor(module.IProgressMonitor):  # type: ignore[misc]  # known at run time only
        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)
            self.interrupted: BaseException | None = None
            self._steps: dict[str, int] = {}
            self._told = -1

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            if parent is None:
                self._steps[phase] = max(1, steps)

        def step_complete(self, phase: str, step: int) -> bool:
            """Go on? No, once the build was interrupted."""
            try:
                if phase in self._steps:
                    self._tell(100 * (step + 1) // self._steps[phase])
            except BaseException as stop:
                self.interrupted = stop
            return self.interrupted is None

        def phase_finish(self, phase: str) -> None:
            self._steps.pop(phase, None)

        def finished(self) -> None:
            """The engine is there: phases may have ended before their last step."""
            self._tell(100)

        def _tell(self, percent: int) -> None:
            if percent > self._told:
                self._told = percent
                progress(f"{label}: {min(percent, 100)}%")

    return Monitor()
