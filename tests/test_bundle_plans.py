"""What a build was not asked for is as the bundle's engines have it. No engine is built here."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mmedge.backends.base import native_backend
from mmedge.bundle_plans import bundle_plans, replaced_by
from mmedge.engine_plan import BuildOptions, EnginePlan
from mmedge.errors import ProjectError
from mmedge.runtime.manifest import Manifest, read_manifest
from mmedge.targets import load_target

TARGET, OTHER = load_target("rtx-3060-12g"), load_target("rtx-4060")
BACKEND = native_backend(TARGET)
assert BACKEND is not None


def plans(
    manifest: Manifest, options: BuildOptions | None = None, target=TARGET
) -> dict[str, EnginePlan]:
    assert BACKEND is not None
    return bundle_plans(manifest, target, BACKEND, options)


@pytest.fixture
def plain(tiny_bundle: Path) -> Manifest:
    return read_manifest(tiny_bundle)


@pytest.fixture
def compiled(plain: Manifest) -> Manifest:
    """As if it were compiled for a GPU, with all that a user can ask for."""
    asked = BuildOptions({"batch": "1:1:1,2:3:4"}, True, 2, 10**8)
    made = {TARGET.name: plans(plain, asked)}
    return msgspec.structs.replace(plain, target=TARGET.name, plans=made)


def profiles(found: dict[str, EnginePlan]) -> set[str]:
    return {" ".join(str(p["batch"]) for p in plan.profiles) for plan in found.values()}


def test_another_target_has_the_shapes_and_options_of_the_compile(compiled: Manifest) -> None:
    found = plans(compiled, target=OTHER)
    assert profiles(found) == {"1:1:1 2:3:4"}
    for plan in found.values():
        known = (plan.precision, plan.optimization_level, plan.workspace_bytes)
        assert known == ("tf32", 2, 10**8)
        assert plan.compute_capability == "8.9"


def test_a_target_without_tf32_does_not_get_it(compiled: Manifest) -> None:
    older = msgspec.structs.replace(OTHER, precisions=("fp32",))
    assert {plan.precision for plan in plans(compiled, target=older).values()} == {"fp32"}


def test_an_option_that_is_given_leaves_the_others_as_they_are(compiled: Manifest) -> None:
    found = plans(compiled, BuildOptions(optimization_level=0))
    assert profiles(found) == {"1:1:1 2:3:4"}
    assert {plan.precision for plan in found.values()} == {"tf32"}
    assert {plan.workspace_bytes for plan in found.values()} == {10**8}
    before = compiled.plans[TARGET.name]
    assert replaced_by(before, found) == "optimization level 0, not 2"


def test_shapes_that_are_given_replace_those_of_the_compile(compiled: Manifest) -> None:
    found = plans(compiled, BuildOptions({"batch": "2"}))
    assert profiles(found) == {"2:2:2"}
    said = replaced_by(compiled.plans[TARGET.name], found)
    assert said == "shapes batch=2:2:2, not batch=1:1:1 and batch=2:3:4"


def test_the_targets_own_plans_come_before_those_of_the_compile(compiled: Manifest) -> None:
    own = plans(compiled, BuildOptions({"batch": "3"}), target=OTHER)
    both = msgspec.structs.replace(compiled, plans={**compiled.plans, OTHER.name: own})
    assert plans(both, target=OTHER) == own
    assert profiles(plans(both, BuildOptions(tf32=True), target=OTHER)) == {"3:3:3"}


def test_a_bundle_without_plans_has_the_ranges_of_its_axes(plain: Manifest) -> None:
    axis = plain.wiring.axes["batch"]
    assert profiles(plans(plain)) == {f"{axis.min}:{axis.opt}:{axis.max}"}
    assert {plan.precision for plan in plans(plain).values()} == {"fp32"}


def test_nothing_is_replaced_where_nothing_is_otherwise(compiled: Manifest) -> None:
    assert replaced_by(compiled.plans[TARGET.name], plans(compiled)) is None


def test_shapes_must_be_the_bundles(plain: Manifest) -> None:
    with pytest.raises(ProjectError, match="no axis 'bach'"):
        plans(plain, BuildOptions({"bach": "1"}))
