"""A checkpoint of each family to engines of TensorRT for RTX in fp16, caches in fp16 too.

What goes to the builder was proved equal to the model with ONNX Runtime, at the tolerance of fp16.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmedge.pipeline import compile_project
from mmedge.runtime.manifest import check_files

pytest.importorskip("tensorrt_rtx")
TARGET = "rtx-3060-12g"
# Of each family one: dual encoder, single pass, prefix decoder, encoder-decoder, multimodal.
FAMILIES = ("clip", "wav2vec2_ctc", "git", "whisper", "smolvlm")


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_in_fp16(
    name: str, checkpoint: Callable[[str], Path], shared_cache: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    compiled = compile_project(
        checkpoint(name),
        output=tmp_path / "it.mmedge",
        target=TARGET,
        cache=shared_cache,
        threads=1,
        precision="fp16",
        io_precision="same",
        optimization_level=0,
        # Three seconds: the activations of the longest sound take gigabytes.
        shapes={"samples": "800:16000:48000"} if name == "wav2vec2_ctc" else {},
    )
    manifest = compiled.manifest
    check_files(compiled.bundle, manifest)
    generation = manifest.wiring.generation
    for component, engines in manifest.engines.items():
        # Looking up embeddings computes nothing, and the decoder takes them in float32.
        looks_up = generation is not None and component == generation.embed
        precision = "fp32" if looks_up else "fp16"
        kinds = [(engine.kind, engine.precision) for engine in engines]
        assert kinds == [("tensorrt", precision), ("onnxruntime", precision)], component
        assert compiled.report["native"][component]["engine"]["memory"]["weights_bytes"] >= 0
    if generation is not None:
        decoder = manifest.wiring.component(generation.decoder)
        caches = {spec.dtype for spec in decoder.inputs if spec.name in generation.cache}
        assert caches == {"float16"}
        assert len(manifest.plans[TARGET][decoder.name].profiles) == 2
