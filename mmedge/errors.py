"""Every error mmedge raises on purpose, and the exit code the command line gives it.

    MmedgeError                    1   anything below, caught in one place by the command line
    ├── ProjectError               3   mmedge.toml, the factory or a recipe is impossible
    ├── CheckpointError            3   weights missing, extra, mis-shaped, unreadable, NaN
    │   └── UntrustedPickleError   3   loading would execute code from the file
    ├── DataError                  3   calibration or evaluation data are missing, empty, wrong
    ├── ExportError                4   torch could not turn a component into a graph
    ├── GraphError                 4   a graph pass broke its promise
    ├── BuildError                 5   a backend refused a graph or fell back silently
    ├── VerificationError          6   the engine is not equal to the model
    ├── NotFasterError             7   the engine is slower than what the user had
    ├── BundleError                8   a bundle is tampered, truncated or from a newer schema
    ├── MissingDependencyError     9   an optional library is not installed
    ├── OutputError               10   the output cannot be written: permissions, space
    ├── InputError                11   a value passed to a bundle does not fit its declared input
    └── ResourceError             12   this machine has too little memory for the work

Exit code 2 is the command line's own (unknown option), 130 is an interrupt, 143 SIGTERM.
"""

from __future__ import annotations

import json


class MmedgeError(Exception):
    """An error that says what was found, what was expected, where, and what to try.

    Each part but the first is optional; `str(error)` lays out the parts that are there.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        found: object = None,
        expected: object = None,
        where: object = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.details = {"found": found, "expected": expected, "where": where, "try": hint}

    def __str__(self) -> str:
        lines = [self.what]
        for label, value in self.details.items():
            if value is not None:
                text = str(value).replace("\n", "\n" + " " * 12)
                lines.append(f"  {label + ':':<10}{text}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, str | int]:
        """The error as `--json` prints it."""
        parts = {key: str(value) for key, value in self.details.items() if value is not None}
        return {
            "error": type(self).__name__,
            "message": self.what,
            **parts,
            "exit_code": self.exit_code,
        }


def error_from(line: str) -> MmedgeError | None:
    """The error whose `to_dict` a process of mmedge's printed as JSON; None if it is none."""
    try:
        told = json.loads(line)
        kind = globals()[told["error"]]
        details = {key: told.get(key) for key in ("found", "expected", "where")}
        error: MmedgeError = kind(told["message"], **details, hint=told.get("try"))
    except (ValueError, KeyError, TypeError):
        return None
    return error


class ProjectError(MmedgeError):
    """The project file, its factory or its recipe says something impossible."""

    exit_code = 3


class CheckpointError(MmedgeError):
    """Weights are missing, extra, mis-shaped, unreadable or not finite."""

    exit_code = 3


class UntrustedPickleError(CheckpointError):
    """Loading the checkpoint would execute code that the file contains."""


class DataError(MmedgeError):
    """Calibration or evaluation data are missing, empty or do not fit the inputs."""

    exit_code = 3


class ExportError(MmedgeError):
    """A component could not be turned into an ONNX graph."""

    exit_code = 4


class GraphError(MmedgeError):
    """A graph pass produced an invalid or numerically different graph."""

    exit_code = 4


class BuildError(MmedgeError):
    """A backend refused a graph, or would have fallen back silently."""

    exit_code = 5


class VerificationError(MmedgeError):
    """An engine's outputs are not equal to the model's, within the tolerance."""

    exit_code = 6


class NotFasterError(MmedgeError):
    """The compiled engine is measurably slower than the model it replaces."""

    exit_code = 7


class BundleError(MmedgeError):
    """A bundle is tampered, truncated, incomplete or written by a newer mmedge."""

    exit_code = 8


class MissingDependencyError(MmedgeError):
    """An optional library that this operation needs is not installed."""

    exit_code = 9


class OutputError(MmedgeError):
    """The output cannot be written: permissions, space, or another writer."""

    exit_code = 10


class InputError(MmedgeError):
    """A value given to a bundle does not fit the declared input."""

    exit_code = 11


class ResourceError(MmedgeError):
    """The machine has less memory than the work is expected to need."""

    exit_code = 12
