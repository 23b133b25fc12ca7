"""Checkpoint directories of many architectures, from `mmedge compile` to the same answers.

A compile already compares every component and the whole with PyTorch, at several batch sizes and
lengths, on real inputs. Here the bundle is then asked as a user asks, with an image and a text,
and the answer is compared with transformers' own processor and model.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zoo
from mmedge_export.huggingface.recording import record_generate
from zoo import Sample

from mmedge import runtime
from mmedge.pipeline import Compiled, compile_project
from mmedge.runtime.bundle import Bundle

Checkpoint = Callable[[str], Path]

MUST = (
    "clip", "siglip", "clap", "blip_vqa", "blip_captioning", "vilt", "flava", "lxmert",
    "layoutlmv3", "owlvit", "grounding_dino", "whisper", "wav2vec2_ctc", "trocr", "donut", "git",
    "blip2_opt", "llava", "smolvlm", "qwen2_vl", "florence2",
)  # fmt: skip
# Upstream computes these features outside of the model: there is no image to ask about.
NO_RAW_INPUTS = ("lxmert",)
# The answers of these detectors and sounds amplify rounding; the others are far below.
LOOSE = {"grounding_dino": 2e-2, "clap": 2e-3, "owlvit": 2e-3}
TOLERANCE = 5e-4
# Pictures are padded to the largest there can be, where upstream pads to the batch's largest.
ON_ONE_CANVAS = ("grounding_dino",)


@pytest.mark.slow
@pytest.mark.parametrize("name", MUST)
def test_it_compiles_and_answers_as_upstream_does(
    name: str, checkpoint: Checkpoint, shared_cache: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    directory = checkpoint(name)
    compiled = compile_project(
        directory,
        output=tmp_path / "it.mmedge",
        cache=shared_cache,
        threads=1,
        measure_seconds=0,
    )
    assert compiled.report["verification"]["real_inputs"] or name in NO_RAW_INPUTS
    dynamic(compiled)
    if name not in NO_RAW_INPUTS:
        with runtime.load(compiled.bundle, threads=1) as bundle:
            for sample in zoo.samples():
                compare(name, directory, bundle, sample)


def dynamic(compiled: Compiled) -> None:
    """The batch is, and so is the length of a text."""
    shapes = [item.spec.shape for item in compiled.manifest.wiring.inputs]
    assert all(isinstance(shape[0], str) for shape in shapes)
    generation = compiled.manifest.wiring.generation
    if generation is not None:
        decoder = compiled.manifest.wiring.component(generation.decoder)
        past = next(spec for spec in decoder.inputs if spec.name in generation.cache)
        assert len(past.dynamic_axes) == 2, "batch and past length"


def compare(name: str, directory: Path, bundle: Bundle, sample: Sample) -> None:
    """One sample through the bundle, raw, and through transformers."""
    model = zoo.load(directory)
    feeds = zoo.inputs(name, directory, [sample])[0]
    given = raw(bundle, sample)
    own = bundle.preprocess(given)
    if "decoder_input_ids" in own:  # a prompt for the decoder, which upstream's processor has not
        feeds["decoder_input_ids"] = torch.from_numpy(own["decoder_input_ids"])
    if name in ON_ONE_CANVAS:
        assert own["pixel_mask"].sum() == feeds["pixel_mask"].sum()
        feeds = {key: torch.from_numpy(array) for key, array in own.items()}
    asked = bundle(**given)
    if bundle.wiring.generation is not None:
        length = bundle.wiring.generation.max_new_tokens
        wanted = record_generate(model, feeds, max_new_tokens=length).tokens.numpy()
        np.testing.assert_array_equal(asked["tokens"], wanted)
        return
    reference = {key: t.numpy() for key, t in zoo.reference(model, feeds).items()}
    same = [key for key in asked if key in reference]
    assert same, f"nothing in common: {list(asked)} and {list(reference)}"
    for key in same:
        found, expected = asked[key], reference[key]
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(np.isfinite(found), finite)
        largest = np.abs(expected[finite]).max(initial=0)
        moved = np.abs(found[finite] - expected[finite]).max(initial=0)
        assert moved <= LOOSE.get(name, TOLERANCE) * largest, key


def raw(bundle: Bundle, sample: Sample) -> dict[str, Any]:
    """The sample as the bundle's raw inputs."""
    options: Any = bundle.manifest.processor
    several = dict(options.get("text") or {}).get("method") in ("queries", "labels")
    known = {
        "image": sample.image,
        "audio": sample.audio,
        "text": [list(sample.labels)] if several else sample.text,
        "words": [sample.words],
        "boxes": [sample.boxes],
    }
    names = bundle.raw_inputs.raw_names
    if "words" in names:  # the question about a page is optional, and not asked
        names = ["image", "words", "boxes"]
    return {key: known[key] for key in names}
