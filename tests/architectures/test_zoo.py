"""The zoo is worth testing with: its models load, repeat themselves, and heed every input."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import zoo

Checkpoint = Callable[[str], Path]

# Well above rounding of single precision, and well below what any of the models shows.
MEASURABLE = 1e-3
# Different ids among the last that were written.
VARIED = 4
# Half of it for most; BridgeTower's heads are 64 wide whatever the configuration says.
LARGEST_CHECKPOINT_BYTES = 2 * 2**20

each = pytest.mark.parametrize("name", sorted(zoo.BUILDERS))


def differ(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    """Whether any output has another shape, or moved measurably. Some are -inf where masked."""
    return any(
        value.shape != right[name].shape
        or not torch.allclose(value, right[name], rtol=MEASURABLE, atol=MEASURABLE)
        for name, value in left.items()
    )


@each
def test_its_model_loads_is_tiny_and_repeats_itself(name: str, checkpoint: Checkpoint) -> None:
    directory = checkpoint(name)
    model = zoo.load(directory)
    for feeds in zoo.inputs(name, directory):
        first, second = (zoo.reference(model, feeds) for _ in range(2))
        assert first
        # Not bit for bit: upstream's ViLT reads its patches in a random order.
        assert not differ(first, second)
        assert not any(value.isnan().any() for value in first.values())
    assert (directory / "model.safetensors").stat().st_size < LARGEST_CHECKPOINT_BYTES


@each
def test_its_outputs_change_with_every_input(name: str, checkpoint: Checkpoint) -> None:
    directory = checkpoint(name)
    model = zoo.load(directory)
    sample, other = zoo.samples()
    before = zoo.reference(model, zoo.inputs(name, directory, [sample])[0])
    for field in zoo.SPECIMENS[name].feeds:
        changed = dataclasses.replace(sample, **{field: getattr(other, field)})
        after = zoo.reference(model, zoo.inputs(name, directory, [changed])[0])
        assert differ(before, after), field


@each
def test_it_takes_a_batch(name: str, checkpoint: Checkpoint) -> None:
    directory = checkpoint(name)
    feeds = zoo.batch(name, directory)
    assert zoo.reference(zoo.load(directory), feeds)


@each
def test_what_it_generates_varies(name: str, checkpoint: Checkpoint) -> None:
    directory = checkpoint(name)
    model = zoo.load(directory)
    if not zoo.writes(model):
        assert not (directory / "generation_config.json").exists()
        return
    for feeds in zoo.inputs(name, directory):
        tokens = zoo.reference(model, feeds)["tokens"][0]
        assert len(set(tokens[-zoo.NEW_TOKENS :].tolist())) >= VARIED, tokens


@each
def test_it_is_the_same_every_time(name: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    zoo.build(name, tmp_path)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert files
    for file in files:
        assert (tmp_path / file).read_bytes() == (checkpoint(name) / file).read_bytes(), file
