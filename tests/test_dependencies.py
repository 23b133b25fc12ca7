"""What a module may need when it is imported: of optional libraries, almost nothing."""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Callable
from typing import Any

import mmedge
from mmedge.optional import EXTRAS

# The graph passes speak onnx_ir in their signatures; everything that lists passes comes with them.
NEEDS_ONNX_IR = ("mmedge.graph.", "mmedge.pipeline", "mmedge.quantize.", "mmedge.search.")
LIBRARIES = [*EXTRAS, "mmedge_export"]

IMPORT = """
import importlib, json, sys

failed = {}
for name in json.loads(sys.argv[1]):
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = repr(error)
print(json.dumps(failed))
"""


def modules() -> list[str]:
    found = [m.name for m in pkgutil.walk_packages(mmedge.__path__, "mmedge.")]
    assert "mmedge.runtime.bundle" in found
    return [name for name in found if name != "mmedge.__main__"]


def failures(run_python: Callable[..., Any], names: list[str], without: list[str]) -> list[str]:
    done = run_python(IMPORT, json.dumps(names), without=without)
    assert done.returncode == 0, done.stderr
    failed: dict[str, str] = json.loads(done.stdout)
    return [f"{name}: {error}" for name, error in failed.items()]


def test_all_but_the_graph_passes_import_with_nothing_optional(
    run_python: Callable[..., Any],
) -> None:
    free = [name for name in modules() if not name.startswith(NEEDS_ONNX_IR)]
    assert {"mmedge.bundles", "mmedge.verify.stages", "mmedge.checkpoint.load"} <= set(free)
    assert failures(run_python, free, LIBRARIES) == []


def test_the_graph_passes_need_onnx_ir_alone(run_python: Callable[..., Any]) -> None:
    brought = ("onnx", "onnx_ir", "ml_dtypes")  # onnx_ir needs the last itself
    without = [name for name in LIBRARIES if name not in brought]
    assert failures(run_python, modules(), without) == []


def test_help_imports_neither_libraries_nor_the_compiler(run_python: Callable[..., Any]) -> None:
    code = """
import sys
from mmedge.cli import main

try:
    main(sys.argv[1:])
finally:
    heavy = {"torch", "numpy", "onnxruntime", "onnx", "msgspec", "rich"}
    print(sorted(heavy & {name.split(".")[0] for name in sys.modules}))
"""
    commands = ("compile", "verify", "run", "profile", "inspect", "init", "targets", "doctor")
    for words in (["--help"], ["--version"], *([name, "--help"] for name in commands)):
        done = run_python(code, *words)
        assert done.returncode == 0, done.stderr
        assert done.stdout.rstrip().endswith("[]"), (words, done.stdout)
