"""Raw samples as a project's tensors: padded together where they can be, else in groups."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from mmedge.data.processed import processed, samples_of_processor, samples_of_upstream
from mmedge.data.raw_samples import COUNT
from mmedge.data.samples import load_samples
from mmedge.data.upstream import upstream_tensors
from mmedge.errors import DataError
from mmedge.project import InputTable, Project
from mmedge.proposing import propose
from mmedge.runtime.processors import load_processor

Checkpoint = Callable[[str], Path]
ORIGIN = "bundled photographs and questions"


def changed(project: Project, **fields: Any) -> Project:
    return Project(project.directory, msgspec.structs.replace(project.file, **fields))


def test_bundled_samples_are_one_padded_batch(checkpoint: Checkpoint) -> None:
    project = propose(checkpoint("clip")).project
    samples = load_samples(project, "evaluation")
    assert (samples.count, samples.origin, samples.real) == (COUNT, ORIGIN, True)
    (group,) = samples.groups
    assert list(group) == list(project.file.inputs)
    for item in project.model_inputs():
        item.spec.check(group[item.spec.name], project.axes(), {})
    padded = (group["attention_mask"] == 0).any(axis=1)
    assert padded.any()
    assert not padded.all()


def test_samples_that_cannot_be_padded_together_are_groups_of_one_shape(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """Pictures of two shapes, cut into as many patches: each sample is as it would be alone."""
    project = propose(checkpoint("qwen2_vl")).project
    for number, size in enumerate(((112, 56), (56, 168), (112, 56))):
        Image.effect_noise(size, 60).convert("RGB").save(tmp_path / f"{number}.png")
    examples = [{"image": f"{number}.png", "text": "what is it?"} for number in range(3)]
    (tmp_path / "all.json").write_text(json.dumps(examples))
    options = project.file.processor
    raw, groups = processed(options, project.directory, [tmp_path / "all.json"])
    assert [len(group["pixel_values"]) for group in groups] == [2, 1]
    processor = load_processor(options, where="[processor]")
    for sample, group, row in ((0, 0, 0), (1, 1, 0), (2, 0, 1)):
        value = {name: [given] for name, given in raw.values[sample].items()}
        alone = processor.convert(value, files=project.directory)
        for name, array in alone.items():
            np.testing.assert_array_equal(array[0], groups[group][name][row])


def test_the_sample_that_is_refused_is_named(checkpoint: Checkpoint, tmp_path: Path) -> None:
    project = propose(checkpoint("clip")).project
    (tmp_path / "all.json").write_text(json.dumps([{"text": "a cat"}, {"text": ["a", 3]}]))
    with pytest.raises(DataError, match="does not take sample 1 of --sample") as caught:
        processed(project.file.processor, project.directory, [tmp_path / "all.json"])
    assert "None" not in str(caught.value)


def test_what_no_processor_makes_is_synthetic_and_told(checkpoint: Checkpoint) -> None:
    project = propose(checkpoint("lxmert")).project
    samples = samples_of_processor(project)
    assert not samples.real
    assert samples.origin.endswith("synthetic visual_feats, visual_pos")
    (group,) = samples.groups
    for item in project.model_inputs():
        item.spec.check(group[item.spec.name], project.axes(), {})
    assert np.ptp(group["visual_feats"]) > 0.5
    again = samples_of_processor(project)
    np.testing.assert_array_equal(again.groups[0]["visual_feats"], group["visual_feats"])


def test_tokens_that_upstream_does_not_make(checkpoint: Checkpoint) -> None:
    """Unlike measures, they are not to be made up."""
    project = propose(checkpoint("owlv2")).project
    inputs = {**project.file.inputs, "depth": InputTable(shape=("batch", 3), dtype="int64")}
    with pytest.raises(DataError, match="does not make the declared inputs") as caught:
        samples_of_upstream(changed(project, inputs=inputs))
    assert "depth" in str(caught.value.details["expected"])
    assert "[data] evaluation" in str(caught.value.details["try"])


def test_a_directory_without_processor_gives_nothing(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """transformers 5 would make up a tokenizer of next to no words."""
    (tmp_path / "config.json").write_bytes((checkpoint("clip") / "config.json").read_bytes())
    assert upstream_tensors(tmp_path) == {}


def test_what_upstreams_processor_does_not_make_is_synthetic(checkpoint: Checkpoint) -> None:
    """Where the words of a page are, only an OCR engine knows."""
    project = propose(checkpoint("bros")).project
    samples = load_samples(project, "evaluation")
    (group,) = samples.groups
    assert group["bbox"].shape[:2] == group["input_ids"].shape
    assert 0 <= group["bbox"].min() < group["bbox"].max() <= 1
    assert samples.origin.endswith("by transformers' processor; synthetic bbox")
    assert not samples.real


def test_upstreams_texts_are_no_longer_than_the_model_has_positions(checkpoint: Checkpoint) -> None:
    """Which its tokenizer need not know."""
    project = propose(checkpoint("clip")).project
    positions = project.file.axes["length"].max
    assert upstream_tensors(checkpoint("clip"))["input_ids"].shape[1] > positions
    samples = samples_of_upstream(project)
    (group,) = samples.groups
    assert group["input_ids"].shape[1] == group["attention_mask"].shape[1] == positions
    assert samples.origin.endswith(f"length cut to {positions}")
