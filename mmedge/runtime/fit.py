"""Whether what one component makes is what the next one takes."""

from __future__ import annotations

from collections.abc import Mapping

from mmedge.errors import BundleError, InputError
from mmedge.tensors import Array, TensorSpec
from mmedge.wiring import ComponentSpec


def check_feeds(component: ComponentSpec, feeds: Mapping[str, Array]) -> dict[str, int]:
    """Sizes of the component's named axes; they are its own, whatever others call theirs.

    Raises BundleError naming the source and the component where a feed does not fit.
    """
    sizes: dict[str, int] = {}
    for spec in component.inputs:
        if spec.name in feeds:
            source = component.bindings.get(spec.name, "the new tokens")
            what = f"{source!r} for input {spec.name!r} of component {component.name!r}"
            check_fits(spec, feeds[spec.name], sizes, what)
    return sizes


def check_fits(spec: TensorSpec, value: Array, sizes: dict[str, int], what: str) -> None:
    """BundleError, beginning with `what`, unless `value` fits; records its named axes' sizes."""
    before = dict(sizes)
    try:
        spec.check(value, {}, sizes)
    except InputError as error:
        agreed = {name: before[name] for name in spec.dynamic_axes.values() if name in before}
        raise BundleError(
            f"{what} does not fit",
            found=f"{value.dtype}{list(value.shape)}",
            expected=f"{spec}" + (f" with {agreed}" if agreed else ""),
        ) from error
