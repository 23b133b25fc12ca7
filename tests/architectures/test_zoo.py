"""The zoo is worth testing with: its models load, repeat themselves, and heed every input."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from PIL import Image
from zoo import Sample

Checkpoint = Callable[[str], Path]

# Well above rounding of single precision, and well below what any of the models shows.
MEASURABLE = 1e-3
# Different ids among the last that were written.
VARIED = 4
# Half of it for most; BridgeTower's heads are 64 wide whatever the configuration says.
LARGEST_CHECKPOINT_BYTES = 2 * 2**20

each = pytest.mark.parametrize("name", sorted(zoo.BUILDERS))


# Each as long, or as large, as what it was made of: not the shape shall tell them apart.
OTHERWISE: dict[str, Callable[[Sample], Any]] = {
    "image": lambda sample: sample.image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "text": lambda sample: " ".join(reversed(sample.words)),
    "labels": lambda sample: tuple(reversed(sample.labels)),
    "audio": lambda sample: sample.audio[::-1].copy(),
}


def differ(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    """Whether any output moved measurably. Some are -inf where masked."""
    return any(
        not torch.allclose(value, right[name], rtol=MEASURABLE, atol=MEASURABLE)
        for name, value in left.items()
        if value.shape == right[name].shape
    )


@dataclass(frozen=True)
class Living:
    """A specimen's checkpoint and its model, loaded."""

    name: str
    directory: Path
    model: torch.nn.Module

    def answer(self, sample: Sample) -> dict[str, torch.Tensor]:
        """What it makes of the sample; of a written text, not the prompt that it begins with."""
        found = zoo.reference(self.model, zoo.inputs(self.name, self.directory, [sample])[0])
        return {
            name: value[:, -zoo.NEW_TOKENS :] if name == "tokens" else value
            for name, value in found.items()
        }


@pytest.fixture(scope="session")
def living(checkpoint: Checkpoint) -> Callable[[str], Living]:
    @cache
    def loaded(name: str) -> Living:
        return Living(name, checkpoint(name), zoo.load(checkpoint(name)))

    return loaded


Loaded = Callable[[str], Living]


@each
def test_it_is_tiny_and_repeats_itself(name: str, living: Loaded) -> None:
    specimen = living(name)
    for sample in zoo.samples():
        first, second = (specimen.answer(sample) for _ in range(2))
        assert first
        # Not bit for bit: upstream's ViLT reads its patches in a random order.
        assert not differ(first, second)
        assert not any(value.isnan().any() for value in first.values())
    size = (specimen.directory / "model.safetensors").stat().st_size
    assert size < LARGEST_CHECKPOINT_BYTES


@each
def test_its_outputs_change_with_every_input(name: str, living: Loaded) -> None:
    sample = zoo.samples()[0]
    before = living(name).answer(sample)
    for field in zoo.SPECIMENS[name].feeds:
        changed = dataclasses.replace(sample, **{field: OTHERWISE[field](sample)})
        assert differ(before, living(name).answer(changed)), field


@each
def test_it_takes_a_batch(name: str, living: Loaded) -> None:
    feeds = zoo.batch(name, living(name).directory)
    assert zoo.reference(living(name).model, feeds)


@each
def test_what_it_writes_varies(name: str, living: Loaded) -> None:
    specimen = living(name)
    if not zoo.writes(specimen.model):
        assert not (specimen.directory / "generation_config.json").exists()
        return
    for sample in zoo.samples():
        tokens = specimen.answer(sample)["tokens"][0].tolist()
        assert len(set(tokens)) >= VARIED, tokens


@each
def test_it_is_the_same_every_time(name: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    zoo.build(name, tmp_path)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert files
    for file in files:
        assert (tmp_path / file).read_bytes() == (checkpoint(name) / file).read_bytes(), file


@pytest.mark.parametrize("name", ["clip", "blip_vqa", "llava", "whisper", "wav2vec2_ctc"])
def test_files_as_before_5_say_the_same(name: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    older = shutil.copytree(checkpoint(name), tmp_path / name)
    zoo.as_before_5(older)
    assert (older / "preprocessor_config.json").exists()
    now, before = zoo.inputs(name, checkpoint(name)), zoo.inputs(name, older)
    for left, right in zip(now, before, strict=True):
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left)
