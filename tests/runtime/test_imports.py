from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import mmedge.runtime

HEAVY = {"torch", "onnx", "onnx_ir", "onnxscript", "transformers"}
LAZY = {"onnxruntime", "PIL", "tokenizers"}


def test_the_runtime_imports_nothing_heavy() -> None:
    modules = [m.name for m in pkgutil.walk_packages(mmedge.runtime.__path__, "mmedge.runtime.")]
    assert "mmedge.runtime.preprocess.image" in modules
    code = (
        "import importlib, json, sys\n"
        f"for name in {modules}: importlib.import_module(name)\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not (HEAVY | LAZY) & set(json.loads(done.stdout))
