"""Part of a model's inputs, encoded once for many calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mmedge.errors import InputError
from mmedge.runtime.next_token import GenerateOptions, OnToken
from mmedge.runtime.reuse import Kept, kept_sources, same
from mmedge.runtime.sampling import Sampling
from mmedge.runtime.tokenizer import OnText
from mmedge.tensors import Array
from mmedge.wiring import Source

if TYPE_CHECKING:
    from mmedge.runtime.bundle import Bundle


class Session:
    """A bundle that remembers what some inputs alone decide; see `Bundle.encode`.

    It is called as the bundle is, with the inputs that were not encoded. One encoded example
    serves a whole batch of them: it is repeated for each, where everything kept of it has the
    batch's axis. Any other difference in size is an InputError.
    """

    def __init__(self, bundle: Bundle, inputs: Mapping[str, Any]) -> None:
        self._bundle = bundle
        self._raw = {
            name: value
            for name, value in inputs.items()
            if name in bundle.raw_inputs.raw_names and value is not None
        }
        given = bundle.preprocess(inputs)
        sources = [s for s in kept_sources(bundle.wiring, given) if s not in given]
        if not sources:
            raise InputError(
                "nothing can be computed from these inputs alone",
                found=", ".join(sorted(inputs)) or "no inputs",
                hint="encode more of the inputs, or call the bundle with all of them",
            )
        self.kept = Kept(bundle.wiring, given, bundle.evaluate(given, sources))

    def __call__(self, **inputs: Any) -> dict[str, Array]:
        """The model's outputs; InputError for an input that was encoded."""
        tensors, known = self._joined(inputs)
        return self._bundle.run(tensors, known=known)

    def generate(
        self,
        *,
        max_new_tokens: int | None = None,
        sampling: Sampling | None = None,
        stop_token_ids: tuple[int, ...] = (),
        on_token: OnToken | None = None,
        on_text: OnText | None = None,
        **inputs: Any,
    ) -> Array:
        """The tokens of the answer, int64 [batch, new tokens]; see `Bundle.generate`."""
        options = GenerateOptions(
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            stop_token_ids=tuple(stop_token_ids),
            on_token=on_token,
        )
        tensors, known = self._joined(inputs)
        return self._bundle.generate_tokens(tensors, options, known=known, on_text=on_text)

    def _joined(self, inputs: Mapping[str, Any]) -> tuple[dict[str, Array], dict[Source, Array]]:
        """All inputs that are still needed, and what is known."""
        given = {name: value for name, value in inputs.items() if value is not None}
        self.kept.check_new(given.keys(), raw=self._raw.keys())
        settled = (*self._raw, *self.kept.given)
        self._bundle.raw_inputs.check_complete(given, settled=settled)
        tensors = self._bundle.preprocess({**self._raw_beside(given), **given})
        for name, before in self.kept.given.items():
            if name in tensors and not same(before, tensors.pop(name)):
                raise InputError(
                    f"input {name!r}, which was encoded, depends on what is given now",
                    found=", ".join(given),
                    hint="encode them together, or encode the others",
                )
        return self.kept.joined(tensors)

    def _raw_beside(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The encoded raw values that the processor has to see with the new ones."""
        if self._bundle.raw_inputs.processor is None:
            return {}
        declared = self._bundle.raw_inputs.processor.raw_inputs()
        new = {name: given[name] for name in declared if name in given}
        sizes = [len(value) for value in new.values() if isinstance(value, list | tuple)]
        return {
            name: _repeated(value, max(sizes, default=1))
            for name, value in self._raw.items()
            if any(name in declared[o].beside or o in declared[name].beside for o in new)
        }


def _repeated(value: Any, times: int) -> Any:
    """One raw value, `times`; several stay as they are."""
    if times == 1 or (isinstance(value, list | tuple) and len(value) != 1):
        return value
    return [*(value if isinstance(value, list | tuple) else [value])] * times
