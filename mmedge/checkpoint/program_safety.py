"""Refusing torch.export archives that would run code of their own when they are loaded.

torch.export.load evaluates shape expressions and guards as Python, resolves operators by name,
pastes names into generated code, unpickles and imports (torch 2.13: _export/serde/serialize.py,
export/pt2_archive/_package.py, export/_unlift.py, utils/_pytree.py). An archive in which any of
these is more than a shape, an operator, a name or a tensor is refused.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mmedge.errors import UntrustedPickleError
from mmedge.optional import require

MODEL = "models/model.json"
# torch/csrc: `torch.ops.load_library` and `import_module` are functions, not operators.
OPERATOR = re.compile(
    r"torch\.ops\.(?!load_library|import_module)[a-z]\w*"
    r"(\.([A-Za-z]\w*|_[a-z]\w*|__i?(and|or|xor|lshift|rshift)__)){1,2}"
    r"|torch\.(_?sym_\w+)"
    r"|math\.(ceil|floor|trunc|sqrt|pow)"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|pow|neg|pos|abs"
    r"|lt|le|gt|ge|eq|ne|and_|or_|xor|not_)"
)
_FUNCTIONS = {
    "Symbol", "Integer", "Float", "Rational", "Mod", "PythonMod", "CleanDiv", "CeilToInt",
    "CeilDiv", "FloorDiv", "FloorToInt", "IntTrueDiv", "FloatTrueDiv", "ModularIndexing", "Max",
    "Min", "Max1", "Pow", "PowByNatural", "Where", "ToFloat", "TruncToInt", "Identity", "Abs",
    "Add", "Mul", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not", "floor", "ceiling",
}  # fmt: skip
_NAME = re.compile(r"[\w.]*")
# Keys of dicts are pasted into the signature: no bracket or operator that could make a call.
_STRUCTURE = re.compile(r"[\w\s.,:\[\]{}\"\\/-]*")
_METHODS = {"size", "stride", "storage_offset", "dim", "numel"}
_NODES = (
    ast.Expression, ast.Constant, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.operator,
    ast.unaryop, ast.boolop, ast.cmpop, ast.Load, ast.keyword, ast.Subscript, ast.Tuple,
)  # fmt: skip


def check_trusted(path: Path, program: dict[str, Any]) -> None:
    """Raise UntrustedPickleError if loading the archive would run more than its operators.

    program: its models/model.json, decoded.
    """
    problems = [*_foreign_members(path), *_foreign_code(program)]
    if problems:
        raise UntrustedPickleError(
            "loading the exported program would execute code that the file contains",
            found="\n".join(problems[:10]),
            expected="operators, shapes and tensors only",
            where=path,
            hint="export it again without custom objects; or, if it is your own: --trust-pickle",
        )


def _foreign_members(path: Path) -> Iterator[str]:
    """Members that are native code, or pickles of anything but tensors."""
    torch = require("torch")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len(set(names)) != len(names) or len({PurePosixPath(n).parts[0] for n in names}) > 1:
            # Two readers would see two different programs in it.
            yield "the archive holds two members of one name, or two archives"
        for name in names:
            member = "/".join(PurePosixPath(name).parts[1:])
            if member.startswith("data/aotinductor"):
                yield f"{member}: compiled code"
            elif member.startswith("models/") and member != MODEL:
                yield f"{member}: a second model"
            elif member.startswith(("data/constants/custom_obj", "data/constants/opaque")):
                yield f"{member}: a custom object"
            elif member.endswith(".pt") or _is_pickle(archive, name):
                try:
                    torch.load(io.BytesIO(archive.read(name)), weights_only=True)
                except Exception as error:
                    yield f"{member}: {str(error).splitlines()[-1]}"


def _is_pickle(archive: zipfile.ZipFile, name: str) -> bool:
    """Whether torch.load would read the member: raw tensors are listed with use_pickle=false."""
    parts = PurePosixPath(name).parts
    if parts[1:3] not in {("data", "weights"), ("data", "constants")} or name.endswith(".json"):
        return False
    configs = [n for n in archive.namelist() if n.endswith(f"_{parts[2]}_config.json")]
    entries = [e for n in configs for e in json.loads(archive.read(n))["config"].values()]
    return any(e["path_name"] == parts[-1] and e["use_pickle"] for e in entries)


def _foreign_code(program: Any) -> Iterator[str]:
    """Strings of the program that torch would evaluate, look up or paste into generated code."""
    for expression in [*(program.get("guards_code") or []), *program["range_constraints"]]:
        if not is_arithmetic(expression):
            yield f"guard: {expression[:200]}"
    for record in _records(program):
        for key, value in record.items():
            if isinstance(value, str) and (rule := _rule(key, record)) and not rule(value):
                yield f"{key}: {value[:200]}"


def _rule(key: str, record: dict[str, Any]) -> Callable[[str], object] | None:
    """What a string under `key` must satisfy; None where torch treats it as text."""
    if key == "expr_str":
        return is_arithmetic
    if key == "target" and "inputs" in record:
        return OPERATOR.fullmatch
    if key in {"in_spec", "out_spec"}:
        return _is_structure
    return _NAME.fullmatch if key == "name" or key.endswith("_name") else None


def _is_structure(spec: str) -> bool:
    # The two words make torch.utils._pytree import a module by name.
    imports = "__enum__" in spec or "default_factory_module" in spec
    return not imports and _STRUCTURE.fullmatch(spec) is not None


def _records(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    children = value.values() if isinstance(value, dict) else value
    if isinstance(value, (dict, list)):
        for child in children:
            yield from _records(child)


def is_arithmetic(expression: str) -> bool:
    """Whether the Python expression is arithmetic on sizes of inputs, and nothing else."""
    try:
        tree = ast.parse(expression, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(_is_allowed(node) for node in ast.walk(tree))


def _is_allowed(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        function = node.func
        method = isinstance(function, ast.Attribute) and function.attr in _METHODS
        return method or (isinstance(function, ast.Name) and function.id in _FUNCTIONS)
    if isinstance(node, ast.Attribute):
        return node.attr in _METHODS
    if isinstance(node, ast.Name):
        return node.id in _FUNCTIONS | {"L", "True", "False"} or bool(
            re.fullmatch(r"[a-z]+\d*|oo|int_oo", node.id)
        )
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
        # sympy evaluates strings inside an expression once more.
        return isinstance(node.value, str) and node.value.isidentifier()
    return isinstance(node, _NODES)
