"""What is replaced while a model is looked at is there again afterwards, whatever happens."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import zoo
from mmedge_export.huggingface.answering import answering_method
from mmedge_export.huggingface.transformers_aid import transformers_aid
from mmedge_export.huggingface.without_checks import VARIABLE, without_checks
from torch import nn


class Inner(nn.Module):
    def features(self, x: int) -> int:
        return x


class Outer(Inner):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.other = Inner(), nn.Identity()


def test_every_module_that_has_the_method_answers() -> None:
    model = Outer()
    with answering_method(model, "features", 7):
        assert (model.features(1), model.inner.features(2)) == (7, 7)
        assert not hasattr(model.other, "features")
    assert (model.features(1), model.inner.features(2)) == (1, 2)


def test_an_error_ends_the_answering() -> None:
    model = Outer()
    with pytest.raises(KeyError), answering_method(model, "features", 7):
        raise KeyError
    assert model.features(1) == 1
    assert "features" not in vars(model)


@pytest.mark.parametrize("before", [None, "0", "1"])
def test_checks_come_back_as_they_were(monkeypatch: pytest.MonkeyPatch, before: str | None) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if before is not None:
        monkeypatch.setenv(VARIABLE, before)
    with without_checks():
        assert os.environ[VARIABLE] == "1"
    assert os.environ.get(VARIABLE) == before
    with pytest.raises(KeyError), without_checks():
        raise KeyError
    assert os.environ.get(VARIABLE) == before


def test_checks_of_values_are_off() -> None:
    """By upstream's own function, which raises while they are on."""
    from transformers.utils import torch_compilable_check

    wrong = torch.tensor(False)
    with pytest.raises(ValueError, match="wrong"):
        torch_compilable_check(wrong, "wrong")
    with without_checks():
        torch_compilable_check(wrong, "wrong")


def test_a_model_is_the_same_after_its_export(checkpoint: Callable[[str], Path]) -> None:
    model = zoo.load(checkpoint("clip"))
    feeds = zoo.batch("clip", checkpoint("clip"))
    before = {name: vars(module).copy() for name, module in model.named_modules()}
    wanted = zoo.reference(model, feeds)
    aid = transformers_aid(model)
    for fail in (False, True):
        try:
            with aid.substituted():
                inside = zoo.reference(model, feeds)
                if fail:
                    raise KeyError
        except KeyError:
            assert fail
        for name, module in model.named_modules():
            assert vars(module).keys() == before[name].keys(), name
        again = zoo.reference(model, feeds)
        for name, tensor in wanted.items():
            torch.testing.assert_close(inside[name], tensor, rtol=1e-4, atol=1e-4)
            assert torch.equal(again[name], tensor)


def test_upstreams_translations_are_used(checkpoint: Callable[[str], Path]) -> None:
    aid = transformers_aid(zoo.load(checkpoint("clip")))
    assert aid.translations
    assert all(callable(function) for function in aid.translations.values())
