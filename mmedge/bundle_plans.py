"""How the engines of a target are built into a bundle: what was not asked for is as it was."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mmedge.axis_shapes import BUNDLE, narrowed_wiring, read_shapes
from mmedge.backends.base import NativeBackend
from mmedge.engine_plan import BuildOptions, EnginePlan
from mmedge.readable_bytes import readable_bytes
from mmedge.runtime.manifest import Manifest
from mmedge.targets import Target

Plans = Mapping[str, EnginePlan]


def bundle_plans(
    manifest: Manifest, device: Target, backend: NativeBackend, options: BuildOptions | None
) -> dict[str, EnginePlan]:
    """A plan for each component of the bundle.

    As the target's engines in the bundle were planned, or, of another target, as those that the
    bundle was compiled for; anew for what `options` says. Raises ProjectError for shapes that are
    not the model's.
    """
    known = manifest.plans.get(device.name)
    if options is None and known is not None:
        return known
    before = known or manifest.plans.get(manifest.target, {})
    options, wiring = _completed(options or BuildOptions(), before, device), manifest.wiring
    narrowed_wiring(wiring, read_shapes(options.shapes), limits=BUNDLE)
    precisions = {name: engines[-1].precision for name, engines in manifest.engines.items()}
    plans = backend.plans(wiring, precisions, target=device, options=options)
    # What operators the graphs have does not depend on the target.
    needed = {
        name: plan.plugins for known in manifest.plans.values() for name, plan in known.items()
    }
    return {
        name: msgspec.structs.replace(plan, plugins=needed.get(name, ()))
        for name, plan in plans.items()
    }


def _completed(options: BuildOptions, before: Plans, device: Target) -> BuildOptions:
    """The options that were given, and for the others what the plans before say."""
    for plan in before.values():  # a user's options are the same for every component
        tf32 = plan.precision == "tf32" and "tf32" in device.precisions
        level, workspace = options.optimization_level, options.workspace_bytes
        options = msgspec.structs.replace(
            options,
            tf32=options.tf32 or tf32,
            optimization_level=plan.optimization_level if level is None else level,
            workspace_bytes=plan.workspace_bytes if workspace is None else workspace,
        )
    if options.shapes:
        return options
    profiles = {name: plan.profiles for name, plan in before.items()}
    return msgspec.structs.replace(options, profiles=profiles)


def replacing(manifest: Manifest, device: Target, plans: Plans) -> list[str]:
    """A line on engines of the target that give way to others, if any do."""
    before = manifest.plans.get(device.name, {})
    digests = {name: plan.digest() for name, plan in before.items()}
    there = {
        name: plan
        for name, plan in before.items()
        if any(engine.plan == digests[name] for engine in manifest.engines[name])
    }
    changes = replaced_by(there, plans)
    return [] if changes is None else [f"replacing the engines of {device.name}: {changes}"]


def replaced_by(before: Plans, after: Plans) -> str | None:
    """One line on what is otherwise than it was planned; None where nothing is."""
    changes: dict[str, None] = {}
    for name in before:
        old, new = _said(before[name]), _said(after[name])
        for what in old:
            if old[what] != new[what]:
                changes[f"{what} {new[what]}, not {old[what]}"] = None
    return "; ".join(changes) or None


def _said(plan: EnginePlan) -> dict[str, str]:
    """What a user can ask for, in words."""
    level, workspace = plan.optimization_level, plan.workspace_bytes
    shapes = [" ".join(f"{axis}={sizes}" for axis, sizes in p.items()) for p in plan.profiles]
    return {
        "precision": plan.precision,
        "shapes": " and ".join(filter(None, shapes)) or "fixed",
        "optimization level": "its own" if level is None else str(level),
        "workspace": "without limit" if workspace is None else readable_bytes(workspace),
    }
