"""What torch's exporter complains of, in terms of the user's code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mmedge.errors import ExportError
from mmedge.project_modules import user_line
from mmedge.recipes import ComponentModule


def explained(error: Exception, component: ComponentModule, directory: Path) -> ExportError:
    """What torch said, in terms of the user's code."""
    chain = _chain(error)
    text = "\n".join(str(link) for link in chain)
    kinds = {type(link).__name__ for link in chain}
    hint = "change what the message names so that torch.export takes it, or keep it out of forward"
    what = f"component {component.name!r} could not be exported"
    if "GuardOnDataDependentSymNode" in kinds or "data-dependent" in text.lower():
        what += ": its control flow depends on the values of tensors"
        hint = "replace `if`/`while`/`.item()` on tensor values by torch.where or torch.cond"
    elif admitted := _admitted_ranges(text):
        what += ": it admits fewer sizes of a dynamic axis than [axes] declares"
        hint = f"declare the sizes it admits: {admitted}"
    elif "Constraints violated" in text or "specialized" in text.lower():
        what += ": a dynamic axis turned out to be fixed"
        hint = "write its size instead of its name in [inputs], or remove what fixes it in forward"
    elif "No ONNX function found" in text or "DispatchError" in kinds:
        what += ": it uses an operation that has no ONNX form"
        hint = "replace the operation, or put it before or after the model"
    message = next((str(link) for link in reversed(chain) if str(link).strip()), repr(error))
    return ExportError(
        what,
        found=f"{type(chain[-1]).__name__}: {_first_lines(message)}",
        where=_user_line(chain, text, directory),
        hint=hint,
    )


def _admitted_ranges(text: str) -> str:
    """The ranges that torch suggests, as lines of [axes]; empty where it suggests none."""
    found = re.findall(r"(\w+) = Dim\('\w+'((?:, (?:min|max)=\d+)+)\)", text)
    ranges = {name: limits.removeprefix(", ").replace("=", " = ") for name, limits in found}
    return "; ".join(f"{name} = {{ {limits} }}" for name, limits in ranges.items())


def _chain(error: BaseException) -> list[BaseException]:
    links: list[BaseException] = [error]
    while (cause := links[-1].__cause__ or links[-1].__context__) and cause not in links:
        links.append(cause)
    return links


def _first_lines(text: str, count: int = 4) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[:count])


def _user_line(chain: Sequence[BaseException], text: str, directory: Path) -> str | None:
    """The last line of the project's own code in the tracebacks or in the message."""
    lines = (user_line(directory, link) for link in reversed(chain))
    named = [line for line in text.splitlines() if str(directory) in line and "line" in line]
    return next((line for line in lines if line), named[-1].strip() if named else None)
