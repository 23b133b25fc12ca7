"""`len` of a tensor does not fix its first axis while a model is exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import zoo
from mmedge_export.huggingface.open_lengths import open_len, open_lengths
from torch import Tensor, nn
from transformers.models.clipseg import modeling_clipseg

Checkpoint = Callable[[str], Path]


class Conditions(nn.Module):
    """What CLIPSeg makes of its texts, if there are as many as images."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, texts: Tensor) -> Tensor:
        made: Tensor = self.model.get_conditional_embeddings(  # type: ignore[operator]
            batch_size=texts.shape[0], input_ids=texts
        )
        return made


def test_the_batch_stays_open(checkpoint: Checkpoint) -> None:
    module = Conditions(zoo.load(checkpoint("clipseg")))
    texts = torch.randint(3, 20, (2, 6))
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    with torch.no_grad(), open_lengths(module):
        program = torch.export.export(module, (texts,), dynamic_shapes=shapes, strict=False)
    three = torch.randint(3, 20, (3, 6))
    with torch.no_grad():
        expected = module(three)
    torch.testing.assert_close(program.module()(three), expected)


def test_python_is_given_back_its_own(checkpoint: Checkpoint) -> None:
    model = zoo.load(checkpoint("clipseg"))
    with open_lengths(model), open_lengths(model):
        assert vars(modeling_clipseg)["len"] is open_len
    assert "len" not in vars(modeling_clipseg)


@pytest.mark.parametrize("value", ["word", [1, 2], (), {"a": 1}, torch.ones(4, 2), torch.ones(0)])
def test_lengths_are_pythons(value: object) -> None:
    assert open_len(value) == len(value)  # type: ignore[arg-type]


def test_what_has_no_length_has_none() -> None:
    for value in (3, torch.tensor(3)):
        with pytest.raises(TypeError):
            open_len(value)
