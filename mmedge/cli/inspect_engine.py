"""How `mmedge inspect` shows engines, and the attention of a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmedge.cli.console import size, warning

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN_LAYERS = 40
SHOWN_MODULES = 3


def tensor(spec: dict[str, Any]) -> str:
    """A tensor's name, dtype and shape."""
    return f"{spec['name']}: {spec['dtype']}[{', '.join(map(str, spec['shape']))}]"


def engine_line(engine: dict[str, Any]) -> str:
    """One engine of a bundle, with what it is tied to."""
    stamps = ", ".join(f"{name} {value}" for name, value in engine["built_with"].items())
    return f"{engine['kind']} {engine['precision']}\n  {stamps}"


def engine_view(facts: dict[str, Any]) -> RenderableType:
    """What an engine file is."""
    from rich.console import Group

    version = facts["version"] or "of a version that is not written in it"
    weights = facts["weights_bytes"]
    held = "" if weights is None else f", of which {size(weights)} are weights"
    lines: list[RenderableType] = [
        f"engine of {facts['library']} {version}, {size(facts['size_bytes'])}{held}",
        f"for compute capability {_list(facts['compute_capabilities'])}",
        f"sha256 {facts['sha256']}",
        *_of_bundle(facts["bundle"]),
    ]
    layers = facts["layers"]
    if layers is None:
        return Group(*lines, f"its layers cannot be told here: {facts['no_layers']}")
    lines += [f"{len(layers)} layers", *(f"  {name}" for name in layers[:SHOWN_LAYERS])]
    more = len(layers) - SHOWN_LAYERS
    return Group(*lines, *([f"  ... and {more} more (--json shows all)"] if more > 0 else []))


def _of_bundle(entry: dict[str, Any] | None) -> list[RenderableType]:
    """What the bundle says that the file lies in."""
    if entry is None:
        return ["in no bundle: its inputs, outputs and profiles are not written in the file"]
    if "error" in entry:
        return [warning(f"of the bundle it lies in ({entry['directory']}): {entry['error']}")]
    if entry["component"] is None:
        return [warning(f"bundle {entry['name']} does not list it")]
    lines: list[RenderableType] = [
        f"component {entry['component']} of bundle {entry['name']}, {entry['precision']}",
        *(f"built with {name} {value}" for name, value in entry["built_with"].items()),
        *(f"input {tensor(spec)}" for spec in entry["inputs"]),
        *(f"output {tensor(spec)}" for spec in entry["outputs"]),
    ]
    for number, ranges in enumerate((entry["plan"] or {}).get("profiles", [])):
        sizes = (f"{axis} {r['min']}..{r['max']}, best {r['opt']}" for axis, r in ranges.items())
        lines.append(f"profile {number}: {'; '.join(sizes) or 'fixed sizes'}")
    lines += [f"{name.replace('_bytes', '')}: {size(n)}" for name, n in entry["memory"].items()]
    if not entry["unchanged"]:
        lines.append(warning("the file is not the one that the bundle lists: its hash is another"))
    return lines


def attention_view(facts: dict[str, Any]) -> RenderableType:
    """How each attention of a bundle was treated."""
    from rich.console import Group
    from rich.table import Table

    attention = facts["attention"]
    table = Table("component", "modules", "treatment", "why", "engines, best first")
    for block in attention["blocks"]:
        modules = block["modules"]
        more = len(modules) - SHOWN_MODULES
        shown = [*modules[:SHOWN_MODULES], *([f"... and {more} more"] if more > 0 else [])]
        engines = [f"{e['kind']} {e['precision']}: {e['how']}" for e in block["engines"]]
        cells = ("\n".join(shown), block["treatment"], block["why"], "\n".join(engines))
        table.add_row(block["component"], *cells)
    return Group(attention["summary"], *([table] if attention["blocks"] else []))


def _list(names: list[str] | None) -> str:
    return "that the file does not tell" if names is None else ", ".join(names) or "none"
