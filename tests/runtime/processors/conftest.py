"""Upstream's processors, saved, and ours loaded from what they saved."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmedge.checkpoint.processor_files import ProcessorFound, processor_options
from mmedge.data.real_samples import RealSamples, real_samples
from mmedge.runtime.processors import Processor, load_processor
from mmedge.tensors import Array


@dataclass(frozen=True)
class Saved:
    """A directory that upstream wrote, what we read from it, and our processor."""

    directory: Path
    found: ProcessorFound
    processor: Processor

    def convert(self, **values: object) -> dict[str, Array]:
        return self.processor.convert(values, files=self.directory)


def assert_fit_for_toml(value: object) -> None:
    """Options travel in mmedge.toml, which has no null, and in manifest.json."""
    assert isinstance(value, dict | list | tuple | str | int | float)
    parts = value.values() if isinstance(value, dict) else value
    for part in [] if isinstance(value, str | int | float) else parts:
        assert_fit_for_toml(part)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Saved]:
    def save(*parts: Any, config: str | None = None) -> Saved:
        for part in parts:
            part.save_pretrained(tmp_path)
        if config is not None:
            (tmp_path / "config.json").write_text(config)
        found = processor_options(tmp_path)
        assert found.options is not None, found.reasons
        assert_fit_for_toml(found.options)
        written = json.loads(json.dumps(found.options))
        return Saved(tmp_path, found, load_processor(written, where=tmp_path))

    return save


@pytest.fixture(scope="session")
def samples() -> RealSamples:
    return real_samples()


@pytest.fixture(scope="session")
def photos(samples: RealSamples) -> list[Image.Image]:
    """As upstream opens a path: two photographs, one of them upright."""
    china, flower = (Image.open(path).convert("RGB") for path in samples.images)
    return [china, flower.crop((60, 0, 300, 320))]
