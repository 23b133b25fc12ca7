"""Reading mmedge.toml: decoded strictly, then what no type can say, each fault by its table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmedge.errors import ProjectError
from mmedge.project_file import MODALITIES, SCHEMA, InputTable, ProjectFile
from mmedge.strict import decode, nearest
from mmedge.tensors import DTYPES


def checked_file(data: dict[str, Any], *, where: Path) -> ProjectFile:
    """The content of a mmedge.toml, decoded; ProjectError names the table that is wrong."""
    _check_schema(data.get("schema", SCHEMA), where)
    decoded = decode(data, ProjectFile, where=where)
    for name, table in decoded.inputs.items():
        _check_input(name, table, decoded, where)
        _check_shape(name, table, where)
    for name in decoded.axes:
        _check_axis(name, decoded, where)
    return decoded


def _check_schema(schema: object, where: Path) -> None:
    """Before any key is looked at: a newer schema may well have keys that are unknown here."""
    if not isinstance(schema, int) or schema < 1:
        raise ProjectError("schema is not a version", found=schema, expected=SCHEMA, where=where)
    if schema > SCHEMA:
        raise ProjectError(
            f"{where.name} has a newer schema than this mmedge reads",
            found=schema,
            expected=f"at most {SCHEMA}",
            where=where,
            hint="pip install --upgrade mmedge",
        )


def _check_input(name: str, table: InputTable, file: ProjectFile, where: Path) -> None:
    if not name.isidentifier():
        raise ProjectError(f"[inputs.{name}] is not a Python argument name", where=where)
    if table.dtype not in DTYPES:
        raise ProjectError(
            f"[inputs.{name}] has an unknown dtype",
            found=table.dtype,
            where=where,
            hint=nearest(table.dtype, list(DTYPES)),
        )
    if table.modality not in MODALITIES:
        raise ProjectError(
            f"[inputs.{name}] has an unknown modality",
            found=table.modality,
            where=where,
            hint=nearest(table.modality, list(MODALITIES)),
        )
    if table.indicates is not None and table.indicates not in file.inputs:
        raise ProjectError(
            f"[inputs.{name}] indicates an input that is not declared",
            found=table.indicates,
            where=where,
            hint=nearest(table.indicates, list(file.inputs)),
        )


def _check_shape(name: str, table: InputTable, where: Path) -> None:
    if not table.shape:
        raise ProjectError(
            f"[inputs.{name}] has no axes: every input starts with the axis that counts examples",
            expected='a shape like ["batch"]',
            where=where,
        )
    bad = [dim for dim in table.shape if isinstance(dim, int) and dim < 1]
    if bad:
        raise ProjectError(
            f"[inputs.{name}] has a dimension below 1",
            found=list(table.shape),
            expected='sizes of at least 1, or axis names like "batch"',
            where=where,
        )


def _check_axis(name: str, file: ProjectFile, where: Path) -> None:
    axis = file.axes[name]
    if not 0 <= axis.min <= axis.opt <= axis.max:
        raise ProjectError(
            f"[axes] {name} is not ordered",
            found=f"min={axis.min}, opt={axis.opt}, max={axis.max}",
            expected="0 <= min <= opt <= max",
            where=where,
        )
    if axis.step < 1 or any(size % axis.step for size in (axis.min, axis.opt, axis.max)):
        raise ProjectError(
            f"[axes] {name} has sizes that are no multiples of its step",
            found=f"min={axis.min}, opt={axis.opt}, max={axis.max}, step={axis.step}",
            expected="a step of at least 1 that divides min, opt and max",
            where=where,
        )
    if axis.min == axis.max:
        raise ProjectError(
            f"[axes] {name} has one size only, so it is not dynamic",
            found=f"min={axis.min}, max={axis.max}",
            where=where,
            hint=f"write {axis.max} instead of {name!r} in the shapes of [inputs]",
        )
    used = {dim for table in file.inputs.values() for dim in table.shape if isinstance(dim, str)}
    if file.inputs and name not in used:
        raise ProjectError(
            f"[axes] {name} is in no input's shape", where=where, hint=nearest(name, sorted(used))
        )
