"""A part of a model that becomes a component of its own: cut out, and answered for elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from mmedge.errors import ProjectError
from mmedge.strict import nearest
from mmedge_export.huggingface.answering import answering_method, is_method
from mmedge_export.huggingface.cross_memory import MemoryEncoder, blanks_of
from mmedge_export.huggingface.feature_encoder import as_upstream, features_of, joined
from mmedge_export.huggingface.noted import noted
from mmedge_export.replaced_forward import replaced_forward


class Part:
    """A submodule, by its dotted path, or a method that makes features (`get_image_features`).

    like: what upstream's own returned once, for its container's type.
    """

    def __init__(self, model: nn.Module, place: str) -> None:
        self.model = model
        self.place = place
        self.is_method = is_method(model, place)
        self.like: Any = None
        if not self.is_method and place not in dict(model.named_modules()):
            raise ProjectError(
                f"{type(model).__name__} has neither a method nor a submodule {place!r}",
                where="[recipe] encoders",
                hint=nearest(place, [path for path, _ in model.named_modules() if path]),
            )

    @contextmanager
    def answering(self, value: Tensor) -> Iterator[None]:
        """While active, the part answers with `value`, whatever it is asked."""
        if self.is_method:
            with answering_method(self.model, self.place, as_upstream(value, self.like)):
                yield
            return
        answer = _first_only(value, self.like)
        with replaced_forward(self._module, lambda *_args, **_kwargs: answer):
            yield

    @contextmanager
    def noted(self) -> Iterator[list[list[Any]]]:
        """While active, whatever the part returns goes into one of the lists."""
        with ExitStack() as stack:
            yield [stack.enter_context(noted(owner, self._name)) for owner in self._owners]

    def value(self, result: Any, batch: int) -> Tensor:
        """What the part's result comes down to: one tensor [batch, ...]."""
        if self.is_method:
            return joined(features_of(result), batch)
        tensor: Tensor = result if isinstance(result, Tensor) else result[0]
        return tensor

    @property
    def _name(self) -> str:
        return self.place if self.is_method else "forward"

    @property
    def _owners(self) -> list[nn.Module]:
        """A model's method may be that of a module inside, and either may be called."""
        if not self.is_method:
            return [self._module]
        return [module for module in self.model.modules() if hasattr(type(module), self.place)]

    @property
    def _module(self) -> nn.Module:
        return self.model.get_submodule(self.place)


def _first_only(value: Tensor, like: Any) -> Any:
    """`value` as the first entry of a result of the type of `like`."""
    if isinstance(like, Tensor):
        return value
    if isinstance(like, tuple):
        return (value,)
    return type(like)(**{next(iter(like)): value})


class PartEncoder(nn.Module):
    """The model's inputs named `arguments` to what the part makes of them.

    blanks: an example of each other input; the part does not depend on them.
    """

    def __init__(
        self,
        whole: MemoryEncoder,
        part: Part,
        arguments: tuple[str, ...],
        *,
        blanks: Mapping[str, Tensor] = {},
    ) -> None:
        super().__init__()
        self.model = whole.model
        self.whole = (whole,)  # in a tuple, so that it is no submodule
        self.part = part
        self.arguments = arguments
        self.blanks = dict(blanks)
        self.training = False

    def forward(self, *tensors: Tensor) -> Tensor:
        """Tensors as the class says."""
        batch = tensors[0].shape[0]
        given = dict(zip(self.arguments, tensors, strict=True))
        given |= blanks_of(self.blanks, batch)
        return self.part.value(self.result(given), batch)

    def result(self, inputs: Mapping[str, Tensor]) -> Any:
        """What upstream's own part returns."""
        (whole,) = self.whole
        with self.part.noted() as found:
            whole.told(inputs)
            if not any(found):
                whole.run(inputs)
        results = [result for each in found for result in each]
        if not results:
            raise ProjectError(
                f"{type(self.model).__name__} generates without {self.part.place!r}",
                where="[recipe] encoders",
            )
        return results[0]
