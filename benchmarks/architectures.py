"""Which architectures compile: every one of the zoo, from its checkpoint directory to a bundle.

    make coverage

compiles the tiny random checkpoints of `tests/architectures/zoo`, each in a process of its own,
and writes the table between the markers in README.md. A row says what was found, not what was
hoped: a refusal is told with its reason.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from readme_tables import markdown, write_table

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "profiles" / "results" / "cpu" / "architectures.json"
AT_ONCE = 2
LIMIT_SECONDS = 600
HEADINGS = ("architecture", "family", "components", "verified error", "open axes", "tokens", "time")


def main(names: list[str]) -> None:
    """Compile all, or the named ones, whose rows replace earlier ones; write the table."""
    known = registered()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        made = list(pool.map(compiled_alone, names or known))
    merged = {row["name"]: row for row in [*(recorded() if names else []), *made]}
    rows = [merged[name] for name in known if name in merged]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"versions": versions(), "rows": rows}, indent=1) + "\n")
    write_table("coverage", table(rows))
    print(table(made))


def recorded() -> list[dict[str, Any]]:
    """The rows of earlier runs; none where other versions made them."""
    if not RESULTS.is_file():
        return []
    stored = json.loads(RESULTS.read_text())
    rows: list[dict[str, Any]] = stored["rows"] if stored["versions"] == versions() else []
    return rows


def registered() -> list[str]:
    """All architectures of the zoo."""
    sys.path.insert(0, str(ROOT / "tests" / "architectures"))
    import zoo

    return sorted(zoo.BUILDERS)


def compiled_alone(name: str) -> dict[str, Any]:
    """One architecture, compiled in a process of its own: a row of the table."""
    start, date = time.monotonic(), datetime.now(timezone.utc).date().isoformat()
    command = [sys.executable, __file__, "--one", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        return {"name": name, "refused": f"not done after {LIMIT_SECONDS} s"}
    seconds = time.monotonic() - start
    print(f"{name}: {seconds:.0f} s", file=sys.stderr)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        reason = (done.stderr.strip().splitlines() or ["died"])[-1]
        return {"name": name, "refused": reason[:200], "seconds": seconds, "date": date}
    return {"name": name, "seconds": seconds, "date": date, **json.loads(lines[-1])}


def compile_one(name: str) -> dict[str, Any]:
    """What a compile of the checkpoint directory found, or why it was refused."""
    sys.path.insert(0, str(ROOT / "tests" / "architectures"))
    import torch
    import zoo

    from mmedge.errors import MmedgeError
    from mmedge.pipeline import compile_project
    from mmedge.proposing import propose

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / name
        zoo.build(name, directory)
        try:
            family = propose(directory).proposal.family
            compiled = compile_project(
                directory,
                output=Path(scratch) / "it.mmedge",
                cache=Path(scratch) / "cache",
                measure_seconds=0,
                threads=1,
            )
        except MmedgeError as error:
            return {"refused": error.what}
        return {"family": family, **facts(compiled.report, compiled.manifest.wiring)}


def facts(report: dict[str, Any], wiring: Any) -> dict[str, Any]:
    """Components, the largest error of any of them, open axes, whether it generates."""
    compared = report["verification"]["components"].values()
    moved = [found["relative"] for outputs in compared for found in outputs.values()]
    named = [dim for item in wiring.inputs for dim in item.spec.shape if isinstance(dim, str)]
    return {
        "components": [component["name"] for component in report["components"]],
        "error": max(moved),
        "axes": list(dict.fromkeys(named)),
        "generates": wiring.generation is not None,
        "raw": report["verification"]["origin"],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a table of Markdown."""
    ordered = sorted(rows, key=lambda row: ("refused" in row, row["name"]))
    cells = markdown(HEADINGS, map(_cells, ordered))
    done = sum("refused" not in row for row in rows)
    return f"{cells}\n\n{done} of {len(rows)} compile."


def _cells(row: dict[str, Any]) -> list[str]:
    if "refused" in row:
        return [row["name"], f"refused: {row['refused']}", *[""] * (len(HEADINGS) - 2)]
    return [
        row["name"],
        row["family"],
        ", ".join(row["components"]),
        f"{row['error']:.0e}",
        ", ".join(row["axes"]),
        "equal" if row["generates"] else "",
        f"{row['seconds']:.0f} s",
    ]


def versions() -> dict[str, str]:
    """Of everything that shapes the table."""
    from mmedge.cache import tool_versions

    return tool_versions()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(compile_one(sys.argv[2])))
    else:
        main(sys.argv[1:])
