"""Recording `generate`: the steps it takes, and not its advice."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import zoo
from mmedge_export.huggingface.generator_arguments import generator_arguments
from mmedge_export.huggingface.recording import record_generate, tokens_of

Checkpoint = Callable[[str], Path]


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record.getMessage())


@pytest.fixture
def heard() -> _Heard:
    return _Heard()


def test_steps_and_tokens(checkpoint: Checkpoint) -> None:
    directory = checkpoint("smolvlm")
    model = zoo.load(directory)
    inputs = zoo.inputs("smolvlm", directory)[0]
    recorded = record_generate(model, inputs, max_new_tokens=3)
    with torch.no_grad():
        whole = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert recorded.generator is model
    assert 1 <= len(recorded.steps) <= 3
    torch.testing.assert_close(recorded.tokens, whole[:, inputs["input_ids"].shape[1] :])
    answer = tokens_of(model, max_new_tokens=3)(inputs)
    torch.testing.assert_close(answer["tokens"], recorded.tokens)


def test_upstream_advises_nobody(checkpoint: Checkpoint, heard: _Heard) -> None:
    directory = checkpoint("whisper")
    model = zoo.load(directory)
    inputs = zoo.inputs("whisper", directory)[0]
    logger = logging.getLogger("transformers")
    logger.addHandler(heard)
    try:
        record_generate(model, inputs, max_new_tokens=2)
        generator_arguments(model, torch.nn.Linear(1, 1), inputs)
        assert heard.records == []
        model.generate(**inputs, max_new_tokens=2)
        assert heard.records, "called by hand it does advise: else this test proves nothing"
    finally:
        logger.removeHandler(heard)
