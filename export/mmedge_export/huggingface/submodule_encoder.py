"""One modality's encoder, where upstream has no method for it: forward, up to a submodule."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from mmedge.errors import ProjectError
from mmedge.optional import require
from mmedge_export.huggingface.cross_memory import blanks_of
from mmedge_export.huggingface.feature_encoder import flattened, joined
from mmedge_export.huggingface.noted import noted
from mmedge_export.huggingface.substitutes import substituted
from mmedge_export.huggingface.uncut_features import uncut_features
from mmedge_export.huggingface.without_checks import without_checks
from mmedge_export.replaced_forward import replaced_forward


class SubmoduleEncoder(nn.Module):
    """A modality's tensors to its features [batch, features, hidden], as the submodule makes them.

    method: the dotted path of the submodule (as `FeatureEncoder.method`, what makes the features).
    arguments: names of the model's inputs, in the order of this module's.
    blanks: an example of each other input; the features do not depend on them.
    """

    def __init__(
        self,
        model: nn.Module,
        method: str,
        arguments: tuple[str, ...],
        *,
        blanks: Mapping[str, Tensor],
        flat: frozenset[str],
    ) -> None:
        super().__init__()
        self.model = model
        self.method = method
        self.arguments = arguments
        self.blanks = dict(blanks)
        self.flat = flat
        self.training = False

    def forward(self, *tensors: Tensor) -> Tensor:
        """Tensors as the class says."""
        batch = tensors[0].shape[0]
        given = dict(zip(self.arguments, tensors, strict=True))
        with without_checks(), uncut_features(), substituted(self.model):
            return joined(self.result(given | blanks_of(self.blanks, batch)), batch)

    def result(self, inputs: Mapping[str, Tensor]) -> Any:
        """What the submodule returns in the model's forward."""
        model: Any = self.model
        with ExitStack() as stack:
            found = stack.enter_context(noted(model.get_submodule(self.method), "forward"))
            # What comes after the submodule is of no interest, and the decoder is most of it.
            stack.enter_context(replaced_forward(model.get_decoder(), unchanged))
            model(**flattened(inputs, self.flat))
        if found:
            return found[0]
        raise ProjectError(
            f"{type(self.model).__name__}.forward does not call {self.method!r}",
            found=", ".join(inputs),
            where="[recipe] encoders",
        )


def unchanged(*_args: Any, **kwargs: Any) -> Any:
    """A decoder that returns the embeddings that it is given."""
    outputs = require("transformers.modeling_outputs")
    return outputs.BaseModelOutputWithPast(last_hidden_state=kwargs["inputs_embeds"])
