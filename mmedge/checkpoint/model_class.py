"""Which class a Hugging Face checkpoint is of: transformers' own, or trusted code beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmedge.errors import CheckpointError
from mmedge.optional import require

# Files that config.json's auto_map may name.
CODE = "*.py"


def model_class(config: dict[str, Any], directory: Path, *, trusted: bool) -> tuple[Any, Any, bool]:
    """(parsed config, model class, whether the class is code of the directory).

    transformers' own class is taken where it has one by that name for that model type; the
    directory's code is only run where there is none and `trusted` says so.
    Raises CheckpointError where there is neither.
    """
    transformers = require("transformers")
    name = _architecture(config, directory)
    own = getattr(transformers, name, None)
    own = own if hasattr(own, "forward") else None
    known = config.get("model_type") in transformers.CONFIG_MAPPING
    code = config.get("auto_map")
    if code and (own is None or not known):
        if not trusted:
            raise _untrusted(code, directory)
        return (*_from_code(name, code, directory), True)
    if own is None:
        raise _unknown(f"has no class {name!r}", directory)
    if not known:
        raise _unknown(f"knows no model type {config.get('model_type')!r}", directory)
    local = {"local_files_only": True, "trust_remote_code": False}
    return transformers.AutoConfig.from_pretrained(directory, **local), own, False


def runs_code(config: dict[str, Any]) -> bool:
    """Whether the directory brings code of its own, which then is part of the checkpoint."""
    return bool(config.get("auto_map"))


def _architecture(config: dict[str, Any], directory: Path) -> str:
    names = config.get("architectures")
    if isinstance(names, list) and names and isinstance(names[0], str):
        return names[0]
    raise CheckpointError(
        "config.json names no model class",
        found=f"architectures: {names!r}",
        expected='"architectures": ["..."], as model.save_pretrained writes it',
        where=directory / "config.json",
        hint="add the name of the class that was trained, such as "
        f'"architectures": ["{_suggestion(config)}"]',
    )


def _suggestion(config: dict[str, Any]) -> str:
    """A class of that model type, as an example."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES as NAMES

    found = NAMES.get(str(config.get("model_type")), "ViTForImageClassification")
    return found if isinstance(found, str) else str(found[0])


def _from_code(name: str, code: dict[str, Any], directory: Path) -> tuple[Any, Any]:
    transformers = require("transformers")
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    references = [value for value in code.values() if isinstance(value, str)]
    reference = next((r for r in references if r.rpartition(".")[2] == name), None)
    if reference is None or "--" in reference:
        raise CheckpointError(
            f"auto_map of config.json does not say where {name!r} is",
            found=", ".join(map(str, code.values())),
            expected=f'"FILE.{name}", a file of the directory',
            where=directory / "config.json",
        )
    local = {"local_files_only": True, "trust_remote_code": True}
    parsed = transformers.AutoConfig.from_pretrained(directory, **local)
    return parsed, get_class_from_dynamic_module(reference, directory, local_files_only=True)


def _untrusted(code: dict[str, Any], directory: Path) -> CheckpointError:
    return CheckpointError(
        "the model is defined by Python code in its directory, which mmedge does not run unasked",
        found=f"auto_map: {', '.join(map(str, code.values()))}",
        where=directory / "config.json",
        hint="read the code; if you trust it: --trust-remote-code\n"
        "or make that code the [model] factory of a project, and the weights its checkpoint",
    )


def _unknown(what: str, directory: Path) -> CheckpointError:
    version = require("transformers").__version__
    return CheckpointError(
        f"transformers {version} {what}",
        expected="a model class and type that this version defines",
        where=directory / "config.json",
        hint="pip install --upgrade transformers, if the model is newer than it; "
        "else see which version wrote the checkpoint: transformers_version in config.json",
    )
