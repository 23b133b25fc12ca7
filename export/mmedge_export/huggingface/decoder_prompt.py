"""The ids that a decoder continues, as the model's own `generate` makes them of a text."""

from __future__ import annotations

from torch import Tensor, nn

from mmedge_export.huggingface.cross_memory import MemoryEncoder


class DecoderPrompt(nn.Module):
    """The model's inputs named `arguments` to what its language model is told: `results`.

    (BLIP, for one, drops the last token of a text and replaces the first.)
    """

    def __init__(
        self, whole: MemoryEncoder, arguments: tuple[str, ...], results: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.model = whole.model
        self.whole = (whole,)  # in a tuple, so that it is no submodule
        self.arguments = arguments
        self.results = results
        self.training = False

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors as the class says."""
        (whole,) = self.whole
        told = whole.told(dict(zip(self.arguments, tensors, strict=True)))
        return tuple(told[name] for name in self.results)
