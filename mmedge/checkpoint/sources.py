"""Model classes and factories in the user's Python files, found by parsing: nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FACTORY_NAMES = ("build", "build_model", "create_model", "make_model", "get_model", "model")
# Literals and arithmetic: what returns one of these makes no model.
NO_MODEL = (ast.Constant, ast.Dict, ast.List, ast.Tuple, ast.Set, ast.Compare, ast.BinOp,
            ast.JoinedStr, ast.DictComp, ast.ListComp, ast.SetComp, ast.GeneratorExp)  # fmt: skip
MODULE_BASES = {"Module", "LightningModule", "PreTrainedModel", "Sequential"}


@dataclass(frozen=True)
class Argument:
    """A parameter of a function; `required` where it has no default."""

    name: str
    required: bool


@dataclass(frozen=True)
class ModelClass:
    """A class that derives from torch.nn.Module: its attributes, constructor and forward.

    calls: attributes that forward calls, in the order their calls return.
    """

    file: str
    name: str
    attributes: frozenset[str]
    constructor: tuple[Argument, ...]
    forward: tuple[Argument, ...]
    calls: tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """Something that [model] factory could name, and the class it makes where that is known.

    sure: its code says that it returns a model, or its name is one that factories have.
    """

    reference: str
    arguments: tuple[Argument, ...]
    makes: ModelClass | None
    sure: bool = True

    @property
    def required(self) -> tuple[str, ...]:
        """The arguments it can't be called without."""
        return tuple(argument.name for argument in self.arguments if argument.required)


def candidates(directory: Path, *, prefixes: frozenset[str]) -> tuple[Candidate, ...]:
    """Factories and model classes in `directory`/*.py, the likeliest first.

    Every public function is one unless what it returns is no model, or nothing.
    prefixes: first parts of the weights' names; the class whose attributes they are is the model.
    Files that are not valid Python are left out.
    """
    trees = {file.stem: tree for file in sorted(directory.glob("*.py")) if (tree := _parse(file))}
    classes = {item.name: item for item in _classes(trees)}
    found = [*_factories(trees, classes)]
    found += [Candidate(f"{c.file}:{c.name}", c.constructor, c) for c in classes.values()]
    return tuple(sorted(found, key=lambda candidate: _rank(candidate, prefixes)))


def _rank(
    candidate: Candidate, prefixes: frozenset[str]
) -> tuple[bool, float, bool, bool, int, str]:
    made = candidate.makes
    attributes = made.attributes if made else frozenset()
    overlap = len(attributes & prefixes) / max(1, len(attributes | prefixes))
    name = candidate.reference.partition(":")[2]
    is_class = made is not None and made.name == name
    order = FACTORY_NAMES.index(name) if name in FACTORY_NAMES else len(FACTORY_NAMES)
    return (
        not candidate.sure,
        -overlap,
        bool(candidate.required),
        is_class,
        order,
        candidate.reference,
    )


def _parse(file: Path) -> ast.Module | None:
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, OSError):
        return None


def _classes(trees: dict[str, ast.Module]) -> Iterator[ModelClass]:
    """Classes below torch.nn.Module, also through another class of the same directory."""
    nodes = [
        (stem, node)
        for stem, tree in trees.items()
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    ]
    known: set[str] = set()
    for _ in nodes:
        known |= {
            node.name
            for _, node in nodes
            if any(_last_name(base) in MODULE_BASES | known for base in node.bases)
        }
    for stem, node in nodes:
        if node.name in known:
            yield _model_class(stem, node)


def _model_class(stem: str, node: ast.ClassDef) -> ModelClass:
    methods = {m.name: m for m in node.body if isinstance(m, ast.FunctionDef)}
    initializer, forward = methods.get("__init__"), methods.get("forward")
    attributes = {
        target.attr
        for statement in ast.walk(initializer or ast.Module([], []))
        if isinstance(statement, (ast.Assign, ast.AnnAssign))
        for target in (
            statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        )
        if isinstance(target, ast.Attribute) and _last_name(target.value) == "self"
    }
    return ModelClass(
        file=stem,
        name=node.name,
        attributes=frozenset(attributes),
        constructor=_arguments(initializer)[1:] if initializer else (),
        forward=_arguments(forward)[1:] if forward else (),
        calls=_calls(forward) if forward else (),
    )


def _calls(function: ast.FunctionDef) -> tuple[str, ...]:
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    # An inner call ends before the outer one does.
    calls.sort(key=lambda call: (call.end_lineno or 0, call.end_col_offset or 0))
    own = [
        call.func.attr
        for call in calls
        if isinstance(call.func, ast.Attribute) and _last_name(call.func.value) == "self"
    ]
    return tuple(dict.fromkeys(own))


def _factories(trees: dict[str, ast.Module], classes: dict[str, ModelClass]) -> Iterator[Candidate]:
    for stem, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                made = _made(node, classes)
                annotated = node.returns is not None and _last_name(node.returns) in MODULE_BASES
                returned = _returned(node)
                known = any(
                    _last_name(v.func) in MODULE_BASES for v in returned if isinstance(v, ast.Call)
                )
                sure = made is not None or annotated or known or node.name in FACTORY_NAMES
                if sure or any(not isinstance(value, NO_MODEL) for value in returned):
                    yield Candidate(f"{stem}:{node.name}", _arguments(node), made, sure=sure)


def _made(function: ast.FunctionDef, classes: dict[str, ModelClass]) -> ModelClass | None:
    """The model class that the function returns: by its annotation, or by what it returns."""
    if function.returns is not None and _last_name(function.returns) in classes:
        return classes[_last_name(function.returns)]
    calls = (_last_name(v.func) for v in _returned(function) if isinstance(v, ast.Call))
    return next((classes[name] for name in calls if name in classes), None)


def _returned(function: ast.FunctionDef) -> list[ast.expr]:
    """What `return` is followed by; a variable's value where it was assigned in the function."""
    values = {
        target.id: statement.value
        for statement in ast.walk(function)
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    returned = [
        statement.value
        for statement in ast.walk(function)
        if isinstance(statement, ast.Return) and statement.value is not None
    ]
    return [values.get(v.id, v) if isinstance(v, ast.Name) else v for v in returned]


def _arguments(function: ast.FunctionDef) -> tuple[Argument, ...]:
    spec = function.args
    positional = [*spec.posonlyargs, *spec.args]
    without_default = len(positional) - len(spec.defaults)
    plain = [Argument(a.arg, i < without_default) for i, a in enumerate(positional)]
    keyword = [
        Argument(a.arg, default is None)
        for a, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
    ]
    return (*plain, *keyword)


def _last_name(node: ast.expr) -> str:
    """`Module` of `torch.nn.Module`; "" where the expression is not a name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.rpartition(".")[2]
    return node.id if isinstance(node, ast.Name) else ""
