"""Every system to real engines of TensorRT for RTX, and to bundles that a Jetson builds from.

No GPU is here to run an engine: what is proved is that each is built, for the sizes it was asked
for. That the graphs which it is built from are equal to the model is proved by every compile.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from mmedge.backends.tensorrt.check import unsupported_nodes
from mmedge.building import build_bundle
from mmedge.engine_plan import Range
from mmedge.errors import BuildError
from mmedge.pipeline import Compiled, compile_project
from mmedge.runtime.manifest import check_files, read_manifest
from mmedge.targets import load_target

pytest.importorskip("tensorrt_rtx")
ROOT = Path(__file__).parents[2]
GPUS = ("rtx-3060-12g", "rtx-4060", "rtx-5070")
JETSON = "jetson-orin-nano-8"
SYSTEMS = (
    "lstm_resnet_vqa",
    "rnn_conv_two_outputs",
    "weighted_sum_fusion",
    "structure_fusion",
    "decision_fusion",
    "missing_modality_learned",
    "missing_modality_indicator",
    "declared_two_tower",
    "plain_classifier",
)


@pytest.fixture
def compiled_for(shared_cache: Path, tmp_path: Path) -> Callable[..., Compiled]:
    """`compiled_for(target, project, **settings)`: what was exported for a CPU is not again."""
    torch.set_num_threads(1)

    def compile_one(target: str, project: Path, **settings: Any) -> Compiled:
        return compile_project(
            project,
            output=tmp_path / f"{Path(target).stem}.mmedge",
            target=target,
            cache=shared_cache,
            threads=1,
            measure_seconds=0,
            **settings,
        )

    return compile_one


@pytest.mark.parametrize("kind", SYSTEMS)
def test_every_system_has_engines_for_every_gpu(
    kind: str, compile_system: Callable[..., Any], tmp_path: Path
) -> None:
    bundle = tmp_path / "it.mmedge"
    shutil.copytree(compile_system(kind).compiled.bundle, bundle)
    for target in GPUS:
        rows = build_bundle(bundle, target=target)["engines"]
        assert all(row["size_bytes"] and not row["was_there"] for row in rows)
    manifest = read_manifest(bundle)
    check_files(bundle, manifest)
    for engines in manifest.engines.values():
        gpus = [engine.built_with.get("compute_capability") for engine in engines]
        assert gpus == ["12.0", "8.9", "8.6", None]


@pytest.mark.slow
def test_a_transformer_with_dynamic_batch_and_length(
    compile_system: Callable[..., Any], compiled_for: Callable[..., Compiled]
) -> None:
    project = compile_system("transformer").project.directory
    shapes = {"batch": "1:2:8", "text_length": "1:4:8"}
    compiled = compiled_for("rtx-3060-12g", project, shapes=shapes)
    plans = compiled.manifest.plans["rtx-3060-12g"]
    (text,) = (plan for plan in plans.values() if "text_length" in plan.profiles[0])
    assert text.profiles[0] == {"batch": Range(1, 2, 8), "text_length": Range(1, 4, 8)}
    first, later = plans["decoder"].profiles  # the start token, and the tokens after it
    assert all(profile["batch"] == Range(1, 2, 8) for profile in (first, later))
    assert compiled.report["native"]["decoder"]["engine"]["size_bytes"] > 0
    for engines in compiled.manifest.engines.values():
        assert [engine.kind for engine in engines] == ["tensorrt", "onnxruntime"]


@pytest.mark.slow
def test_the_example_in_fp16(compiled_for: Callable[..., Compiled]) -> None:
    project = ROOT / "examples" / "vqa"
    compiled = compiled_for("rtx-3060-12g", project, precision="fp16", shapes={"batch": "4"})
    for name, native in compiled.report["native"].items():
        assert native["plan"]["precision"] == "fp16", name
        assert native["engine"]["memory"]["weights_bytes"] >= 0
    task = compiled.report["verification"]["task"]
    assert abs(task["after"] - task["before"]) < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["transformer", "lstm_resnet_vqa"])
def test_a_bundle_for_a_jetson_is_what_its_tensorrt_takes(
    kind: str, compile_system: Callable[..., Any], compiled_for: Callable[..., Compiled]
) -> None:
    project = compile_system(kind).project.directory
    compiled = compiled_for(JETSON, project)
    settings = load_target(JETSON).tensorrt
    assert settings is not None
    for name, engines in compiled.manifest.engines.items():
        assert [engine.kind for engine in engines] == ["onnxruntime"]
        graph = compiled.bundle / engines[0].file
        assert {o.version for o in onnx.load(graph).opset_import if not o.domain} == {18}
        assert unsupported_nodes(graph, settings) == []
        assert compiled.manifest.plans[JETSON][name].library == "tensorrt"
    # What is asked of the board can be asked of a machine whose library is there.
    rows = build_bundle(compiled.bundle, target="rtx-4060")["engines"]
    assert len(rows) == len(compiled.manifest.engines)


def test_engines_that_the_device_has_no_memory_for(
    compile_system: Callable[..., Any], compiled_for: Callable[..., Compiled], tmp_path: Path
) -> None:
    project = compile_system("plain_classifier").project.directory
    text = (ROOT / "profiles" / "targets" / "rtx-3060-12g.toml").read_text()
    small = tmp_path / "small.toml"
    assert "value = 12884901888" in text
    text = text.replace('"rtx-3060-12g"', '"small"').replace("12884901888", "1000")
    small.write_text(text)
    lines: list[str] = []
    with pytest.raises(BuildError, match="outputs of the engines alone take more memory than"):
        compiled_for(str(small), project, progress=lines.append)
    assert lines
    assert not any(line.startswith("building") for line in lines)
