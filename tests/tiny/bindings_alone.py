"""The real Python bindings of other TensorRT versions, without the libraries they belong to.

The wheels of the bindings import where shared libraries of the right names are there; ours export
the few functions that the bindings are linked to, and none of them is ever called. What can be
asked so is what a version has: classes, methods, enums.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

# Package and version -> what `make` fetches; the oldest and newest that Jetsons have, and 11.
VERSIONS = {
    "10.3.0": "tensorrt_cu12_bindings",
    "10.13.3.9": "tensorrt_cu12_bindings",
    "10.16.1.11": "tensorrt_cu13_bindings",
    "11.4.0.106": "tensorrt_cu13_bindings",
}
WHEELS = Path(sys.prefix) / "wheels"
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
    "getBuilderPluginRegistry",
)
ASK = """
import functools, json, sys
sys.path.insert(0, sys.argv[1])
import tensorrt_bindings as module

def has(name):
    try:
        functools.reduce(getattr, name.split("."), module)
    except AttributeError:
        return False
    return True

names = json.load(sys.stdin)
print(json.dumps({"version": module.__version__, "has": {name: has(name) for name in names}}))
"""


def why_not(version: str) -> str | None:
    """Why the bindings of a version cannot be asked here; None if they can."""
    if shutil.which("cc") is None:
        return "there is no C compiler for the stand-ins of TensorRT's libraries"
    return None if _wheel(version) else f"no wheel of {version} in {WHEELS}: make fetches it"


def ask(version: str, names: list[str], directory: Path) -> dict[str, bool]:
    """Which of the dotted names ("BuilderFlag.TF32") the version has; files go to `directory`."""
    wheel = _wheel(version)
    assert wheel is not None
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    _stand_ins(directory, major=version.split(".")[0])
    done = subprocess.run(
        [sys.executable, "-c", ASK, directory],
        input=json.dumps(names),
        env={**os.environ, "LD_LIBRARY_PATH": str(directory)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["version"] == version
    found: dict[str, bool] = answer["has"]
    return found


def _wheel(version: str) -> Path | None:
    python = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    pattern = f"{VERSIONS[version]}-{version}-{python}-*.whl"
    return next(iter(sorted(WHEELS.glob(pattern))), None)


def _stand_ins(directory: Path, *, major: str) -> None:
    source = directory / "stand_in.c"
    source.write_text("".join(f"void {name}(void) {{}}\n" for name in FUNCTIONS))
    for name in LIBRARIES:
        file = f"lib{name}.so.{major}"
        command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{file}", "-o", directory / file, source]
        subprocess.run(command, check=True, capture_output=True)


# Names of variables in mmedge's code -> the class of TensorRT that they hold.
HOLDS = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
}


def names_used(source: str) -> set[str]:
    """What code takes from TensorRT, as dotted names: `module.X.Y`, and methods of the classes."""
    chains = (_chain(node) for node in ast.walk(ast.parse(source)))
    found = set()
    for chain in chains:
        for place, name in enumerate(chain[:-1]):
            if name == "module":
                found.add(".".join(chain[place + 1 :]))
            elif name.lstrip("_") in HOLDS:
                found.add(f"{HOLDS[name.lstrip('_')]}.{chain[place + 1]}")
    return found


def _chain(node: ast.AST) -> list[str]:
    """`self.module.BuilderFlag.TF32` as a list of its names; empty for anything else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return [node.id, *names] if isinstance(node, ast.Name) and names else []
