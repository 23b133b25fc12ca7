"""What TensorRT says while it parses and builds: kept, to be put into errors and reports."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

# How the sizes of an engine are told, at severity INFO (10.3 to 11.4, RTX 1.7).
SIZES = {
    "weights_bytes": re.compile(r"Total Weights Memory: (\d+) bytes", re.IGNORECASE),
    "activations_bytes": re.compile(r"Total Activation Memory: (\d+) bytes", re.IGNORECASE),
    "scratch_bytes": re.compile(r"Max Scratch Memory: (\d+) bytes", re.IGNORECASE),
}
WORST_FIRST = ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO")


@dataclass
class Log:
    """Messages since the last `clear`, by severity."""

    messages: dict[str, list[str]] = field(default_factory=dict)

    def add(self, severity: str, text: str) -> None:
        """Keep one message; verbose ones are thousands, and not kept."""
        if severity in WORST_FIRST:
            self.messages.setdefault(severity, []).append(text)

    def clear(self) -> None:
        """Forget what was said."""
        self.messages.clear()

    def errors(self) -> list[str]:
        """What went wrong, each complaint once."""
        said = [text for kind in WORST_FIRST[:2] for text in self.messages.get(kind, [])]
        return list(dict.fromkeys(said))

    def sizes(self) -> dict[str, int]:
        """Memory of the engine that was built, by what it is for; empty where it is not told."""
        lines = "\n".join(self.messages.get("INFO", []))
        found = {name: pattern.findall(lines) for name, pattern in SIZES.items()}
        return {name: int(values[-1]) for name, values in found.items() if values}


@cache
def make_logger(module: Any) -> Any:
    """The process's one logger for `module`, an ILogger; its `kept` is a Log."""

    class Logger(module.ILogger):  # type: ignore[misc]  # the base is known at run time only
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.kept = Log()

        def log(self, severity: Any, text: str) -> None:
            self.kept.add(severity.name, text)

    return Logger()
